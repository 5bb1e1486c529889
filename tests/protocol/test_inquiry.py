"""The state machine alone: no socket, and time is a number."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import Address
from protocol.dialect import Command, Dialect, Status
from protocol.dialects import DIALECTS, V0
from protocol.errors import (
    Disbelieved,
    Discard,
    NoAnswer,
    OtherDialect,
    Reason,
    Refused,
    Unreachable,
)
from protocol.inquiry import Inquiry
from protocol.message import Request, Response, Value, fitting_dialects, result
from protocol.question import Questions
from protocol.roundtrip import RoundTrip
from protocol.token import Token

HERE: Address = ("192.0.2.1", 7030)
THERE: Address = ("192.0.2.2", 7030)


def ask(
    *commands: Command,
    addresses: tuple[Address, ...] = (HERE,),
    attempts: int = 3,
    deadline: float = 2,
    dialect: Dialect = V0,
    round_trip: RoundTrip | None = None,
) -> Inquiry:
    inquiry = Inquiry(
        addresses,
        Questions.of(Token(bytes(dialect.token_length)), dialect, commands or V0.reads),
        round_trip=round_trip or RoundTrip(),
        attempts=attempts,
        deadline=deadline,
        random=Random(7),
    )
    inquiry.identify(frozenset())
    return inquiry


def reply(request: bytes, value: Value, dialect: Dialect = V0) -> bytes:
    asked = Request.decode(request, dialect)
    command = dialect.codes[asked.code]
    return Response(asked.identifier, Status.DONE, result(command, value, dialect)).encode(dialect)


def refusal(request: bytes, status: Status) -> bytes:
    return Response(Request.decode(request).identifier, status).encode()


def test_all_commands_go_out_at_once_under_identifiers_of_their_own() -> None:
    requests = [Request.decode(datagram) for datagram in ask().transmit(0)]

    assert [request.code for request in requests] == [0, 1, 2, 3]
    assert len({request.identifier for request in requests}) == 4


def test_it_is_done_when_every_command_is_answered() -> None:
    inquiry = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, second = inquiry.transmit(0)

    done = [inquiry.receive(reply(second, True), 0.1) or inquiry.done]
    done.append(inquiry.receive(reply(first, 3), 0.2) or inquiry.done)

    assert done == [False, True]
    assert inquiry.values == {Command.CONNECTIONS: 3, Command.TRANSFORMS: True}
    assert inquiry.seconds == 0.2


def test_only_what_is_unanswered_is_sent_again_and_with_the_same_identifier() -> None:
    inquiry = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, second = inquiry.transmit(0)
    inquiry.receive(reply(first, 3), 0.1)

    assert inquiry.transmit(inquiry.due) == [second]
    assert inquiry.cost.datagrams_sent == 3
    assert inquiry.cost.retransmissions == 1


def test_the_waits_double_with_a_little_jitter_until_the_attempts_are_used_up() -> None:
    inquiry = ask(attempts=3, deadline=10)
    sent = [0.0]
    while inquiry.due < inquiry.deadline:
        inquiry.transmit(sent[-1])
        sent.append(inquiry.due)

    waits = [later - earlier for earlier, later in pairwise(sent[:-1])]
    assert waits == [pytest.approx(0.25, rel=0.1), pytest.approx(0.5, rel=0.1)]
    assert waits != [0.25, 0.5]


def test_a_short_deadline_still_has_room_for_every_attempt() -> None:
    inquiry = ask(attempts=3, deadline=0.07)
    inquiry.transmit(0)
    second = inquiry.due
    inquiry.transmit(second)

    assert second == pytest.approx(0.01, rel=0.11)
    assert inquiry.due == pytest.approx(0.03, rel=0.2)


def test_the_wait_adapts_to_the_round_trips_seen() -> None:
    trip = RoundTrip()
    for _ in range(50):
        trip.observe(0.3)
    inquiry = ask(round_trip=trip, deadline=10)

    inquiry.transmit(0)

    assert inquiry.due > 0.27


def test_no_round_trip_is_learned_from_what_was_sent_twice() -> None:
    trip = RoundTrip()
    inquiry = ask(Command.CONNECTIONS, round_trip=trip)
    [request] = inquiry.transmit(0)
    inquiry.transmit(0.3)

    inquiry.receive(reply(request, 3), 0.301)

    assert inquiry.done
    assert inquiry.cost.round_trips == ()
    assert trip.smoothed is None


def test_a_round_trip_is_learned_from_what_was_sent_once() -> None:
    trip = RoundTrip()
    inquiry = ask(Command.CONNECTIONS, round_trip=trip, deadline=7)
    [request] = inquiry.transmit(5)

    inquiry.receive(reply(request, 3), 5.25)

    assert inquiry.cost.round_trips == (0.25,)
    assert trip.smoothed == 0.25


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", Discard.SIZE),
        (bytes.fromhex("cffe00 1234 00 00000000000000"), Discard.SIZE),
        (bytes.fromhex("ffff00 1234 00 0000000000000000"), Discard.SIGNATURE),
        (bytes.fromhex("cffe01 1234 00 0000000000000000"), Discard.VERSION),
        (bytes.fromhex("cffe00 1234 00 0000000000000000"), Discard.IDENTIFIER),
        (bytes.fromhex("cffe00 1234 09 0000000000000000"), Discard.STATUS),
    ],
)
def test_what_does_not_answer_is_counted_and_ignored(datagram: bytes, reason: Discard) -> None:
    inquiry = ask(Command.CONNECTIONS)
    [request] = inquiry.transmit(0)

    assert inquiry.receive(datagram, 0.1) is reason
    assert not inquiry.done
    inquiry.receive(reply(request, 3), 0.2)

    assert inquiry.values == {Command.CONNECTIONS: 3}
    assert inquiry.cost.discarded == {reason: 1}


def test_a_doubled_answer_is_ignored() -> None:
    inquiry = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, _ = inquiry.transmit(0)
    inquiry.receive(reply(first, 3), 0.1)

    assert inquiry.receive(reply(first, 4), 0.2) is Discard.IDENTIFIER
    assert inquiry.values == {Command.CONNECTIONS: 3}


def test_a_flag_that_is_neither_on_nor_off_is_ignored() -> None:
    inquiry = ask(Command.TRANSFORMS)
    [request] = inquiry.transmit(0)

    bad = reply(request, True)[:-1] + b"\x07"

    assert inquiry.receive(bad, 0.1) is Discard.RESULT
    assert not inquiry.done


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.AUTHENTICATION_FAILED, Reason.AUTHENTICATION),
        (Status.INVALID_VERSION, Reason.VERSION),
        (Status.INVALID_COMMAND, Reason.COMMAND),
        (Status.INVALID_REQUEST, Reason.REQUEST),
        (Status.SERVER_FAILURE, Reason.SERVER),
    ],
)
def test_a_refusal_ends_it_at_once(status: Status, reason: Reason) -> None:
    inquiry = ask()
    first, *_ = inquiry.transmit(0)

    assert inquiry.receive(refusal(first, status), 0.1) is None

    assert inquiry.done
    assert isinstance(inquiry.error, Refused)
    assert (inquiry.error.status, inquiry.error.reason) == (status, reason)
    assert status.value in str(inquiry.error)


def test_silence_is_told_as_such() -> None:
    inquiry = ask()
    inquiry.transmit(0)

    inquiry.expire(2)

    assert isinstance(inquiry.error, NoAnswer)
    assert str(inquiry.error) == "no answer within 2 s to 4 datagrams"


def test_nonsense_is_told_from_silence() -> None:
    inquiry = ask()
    inquiry.transmit(0)
    inquiry.receive(bytes.fromhex("cffe00 0000 09 0000000000000000"), 0.1)

    inquiry.expire(2)

    assert isinstance(inquiry.error, Disbelieved)
    assert "ignored 1 for their status" in str(inquiry.error)


def test_another_dialect_is_named() -> None:
    inquiry = ask(dialect=DIALECTS["v0"])
    inquiry.transmit(0)
    inquiry.receive(bytes.fromhex("feca 00 1234 00 0100000000000000"), 0.1)

    inquiry.expire(2)

    assert isinstance(inquiry.error, OtherDialect)
    assert inquiry.error.reason is Reason.DIALECT
    assert "its replies fit group-11" in str(inquiry.error)


def test_a_closed_port_ends_it_at_once() -> None:
    inquiry = ask()
    inquiry.transmit(0)

    inquiry.unreachable("Connection refused", 0.1)

    assert isinstance(inquiry.error, Unreachable)
    assert inquiry.done


def test_the_next_address_is_tried_when_the_first_is_unreachable() -> None:
    inquiry = ask(Command.CONNECTIONS, addresses=(HERE, THERE))
    inquiry.transmit(0)

    inquiry.unreachable("Connection refused", 0.1)

    assert not inquiry.done
    assert (inquiry.address, inquiry.due) == (THERE, 0.1)
    assert inquiry.transmit(0.1)
    assert inquiry.cost.retransmissions == 0


def test_the_next_address_is_tried_when_the_first_is_silent() -> None:
    inquiry = ask(addresses=(HERE, THERE))
    inquiry.transmit(0)

    assert inquiry.turn()
    assert inquiry.address == THERE
    assert not inquiry.turn()


def test_an_address_that_has_answered_is_kept() -> None:
    inquiry = ask(addresses=(HERE, THERE))
    first, *_ = inquiry.transmit(0)
    inquiry.receive(reply(first, 3), 0.1)

    assert not inquiry.turn()
    inquiry.unreachable("Connection refused", 0.2)

    assert inquiry.address == HERE
    assert isinstance(inquiry.error, Unreachable)


def test_identifiers_that_are_taken_are_not_drawn() -> None:
    first, second = ask(), ask()  # the same seed: they would draw the same
    second.identify(first.identifiers)

    assert not first.identifiers & second.identifiers


def test_answers_of_version_0_fit_version_0_alone() -> None:
    assert fitting_dialects(bytes.fromhex("cffe00 1234 00 0000000000000003")) == ["v0"]
    assert fitting_dialects(b"nonsense") == []


def same_seed(questions: Questions) -> Inquiry:
    inquiry = Inquiry(
        (HERE,),
        questions,
        round_trip=RoundTrip(),
        attempts=3,
        deadline=2,
        random=Random(7),
    )
    inquiry.identify(frozenset())
    return inquiry


@given(st.data(), st.sampled_from(list(DIALECTS.values())))
def test_good_answers_known_by_their_beginning_are_taken_as_decoding_takes_them(
    data: st.DataObject, dialect: Dialect
) -> None:
    questions = Questions.of(Token(bytes(dialect.token_length)), dialect, dialect.reads)
    quick = same_seed(questions)
    thorough = same_seed(replace(questions, before=b"", behind=b"", beginning=slice(0)))
    requests = quick.transmit(0)
    assert thorough.transmit(0) == requests
    for step in range(data.draw(st.integers(1, 8))):
        answer = bytearray(
            Response(
                Request.decode(data.draw(st.sampled_from(requests)), dialect).identifier,
                data.draw(st.sampled_from(list(dialect.statuses.values()))),
                data.draw(
                    st.just(bytes(dialect.result.size))
                    | st.binary(min_size=dialect.result.size, max_size=dialect.result.size)
                ),
            ).encode(dialect)
        )
        if data.draw(st.booleans()):
            answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
        datagram = bytes(answer)[: data.draw(st.sampled_from([None, -1, 6]))]

        assert quick.receive(datagram, step) is thorough.receive(datagram, step)

    assert quick.values == thorough.values
    assert quick.cost == thorough.cost
    assert quick.done is thorough.done
    assert repr(quick.error) == repr(thorough.error)
