"""The state machine alone: no socket, and time is a number."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import Address
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.errors import (
    DiscardReason,
    FailureReason,
    InvalidResponses,
    NoAnswer,
    OtherDialect,
    Refused,
    Unreachable,
)
from protocol.message import Request, Response, Value, fitting_dialects, result
from protocol.query import Query
from protocol.roundtrip import RoundTrip
from protocol.template import RequestTemplate
from protocol.token import Token
from protocol.vocabulary import Command, Status

HERE: Address = ("192.0.2.1", 7030)
THERE: Address = ("192.0.2.2", 7030)


def ask(
    *commands: Command,
    addresses: tuple[Address, ...] = (HERE,),
    attempts: int = 3,
    deadline: float = 2,
    dialect: Dialect = V0,
    round_trip: RoundTrip | None = None,
) -> Query:
    query = Query(
        addresses,
        RequestTemplate.of(Token(bytes(dialect.token_length)), dialect, commands or V0.reads),
        round_trip=round_trip or RoundTrip(),
        attempts=attempts,
        deadline=deadline,
        random=Random(7),
    )
    query.identify(frozenset())
    return query


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
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, second = query.transmit(0)

    done = [query.receive(reply(second, True), 0.1) or query.done]
    done.append(query.receive(reply(first, 3), 0.2) or query.done)

    assert done == [False, True]
    assert query.values == {Command.CONNECTIONS: 3, Command.TRANSFORMS: True}
    assert query.seconds == 0.2


def test_only_what_is_unanswered_is_sent_again_and_with_the_same_identifier() -> None:
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, second = query.transmit(0)
    query.receive(reply(first, 3), 0.1)

    assert query.transmit(query.due) == [second]
    assert query.cost.datagrams_sent == 3
    assert query.cost.retransmissions == 1


def test_the_waits_double_with_a_little_jitter_until_the_attempts_are_used_up() -> None:
    query = ask(attempts=3, deadline=10)
    sent = [0.0]
    while query.due < query.deadline:
        query.transmit(sent[-1])
        sent.append(query.due)

    waits = [later - earlier for earlier, later in pairwise(sent[:-1])]
    assert waits == [pytest.approx(0.25, rel=0.1), pytest.approx(0.5, rel=0.1)]
    assert waits != [0.25, 0.5]


def test_a_short_deadline_still_has_room_for_every_attempt() -> None:
    query = ask(attempts=3, deadline=0.07)
    query.transmit(0)
    second = query.due
    query.transmit(second)

    assert second == pytest.approx(0.01, rel=0.11)
    assert query.due == pytest.approx(0.03, rel=0.2)


def test_the_wait_adapts_to_the_round_trips_seen() -> None:
    trip = RoundTrip()
    for _ in range(50):
        trip.observe(0.3)
    query = ask(round_trip=trip, deadline=10)

    query.transmit(0)

    assert query.due > 0.27


def test_no_round_trip_is_learned_from_what_was_sent_twice() -> None:
    trip = RoundTrip()
    query = ask(Command.CONNECTIONS, round_trip=trip)
    [request] = query.transmit(0)
    query.transmit(0.3)

    query.receive(reply(request, 3), 0.301)

    assert query.done
    assert query.cost.round_trips == ()
    assert trip.smoothed is None


def test_a_round_trip_is_learned_from_what_was_sent_once() -> None:
    trip = RoundTrip()
    query = ask(Command.CONNECTIONS, round_trip=trip, deadline=7)
    [request] = query.transmit(5)

    query.receive(reply(request, 3), 5.25)

    assert query.cost.round_trips == (0.25,)
    assert trip.smoothed == 0.25


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", DiscardReason.SIZE),
        (bytes.fromhex("cffe00 1234 00 00000000000000"), DiscardReason.SIZE),
        (bytes.fromhex("ffff00 1234 00 0000000000000000"), DiscardReason.SIGNATURE),
        (bytes.fromhex("cffe01 1234 00 0000000000000000"), DiscardReason.VERSION),
        (bytes.fromhex("cffe00 1234 00 0000000000000000"), DiscardReason.IDENTIFIER),
        (bytes.fromhex("cffe00 1234 09 0000000000000000"), DiscardReason.STATUS),
    ],
)
def test_what_does_not_answer_is_counted_and_ignored(
    datagram: bytes, reason: DiscardReason
) -> None:
    query = ask(Command.CONNECTIONS)
    [request] = query.transmit(0)

    assert query.receive(datagram, 0.1) is reason
    assert not query.done
    query.receive(reply(request, 3), 0.2)

    assert query.values == {Command.CONNECTIONS: 3}
    assert query.cost.discarded == {reason: 1}


def test_a_doubled_answer_is_ignored() -> None:
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, _ = query.transmit(0)
    query.receive(reply(first, 3), 0.1)

    assert query.receive(reply(first, 4), 0.2) is DiscardReason.IDENTIFIER
    assert query.values == {Command.CONNECTIONS: 3}


def test_a_flag_that_is_neither_on_nor_off_is_ignored() -> None:
    query = ask(Command.TRANSFORMS)
    [request] = query.transmit(0)

    bad = reply(request, True)[:-1] + b"\x07"

    assert query.receive(bad, 0.1) is DiscardReason.RESULT
    assert not query.done


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.AUTHENTICATION_FAILED, FailureReason.AUTHENTICATION),
        (Status.INVALID_VERSION, FailureReason.VERSION),
        (Status.INVALID_COMMAND, FailureReason.COMMAND),
        (Status.INVALID_REQUEST, FailureReason.REQUEST),
        (Status.SERVER_FAILURE, FailureReason.SERVER),
    ],
)
def test_a_refusal_ends_it_at_once(status: Status, reason: FailureReason) -> None:
    query = ask()
    first, *_ = query.transmit(0)

    assert query.receive(refusal(first, status), 0.1) is None

    assert query.done
    assert isinstance(query.error, Refused)
    assert (query.error.status, query.error.reason) == (status, reason)
    assert status.value in str(query.error)


def test_silence_is_told_as_such() -> None:
    query = ask()
    query.transmit(0)

    query.expire(2)

    assert isinstance(query.error, NoAnswer)
    assert str(query.error) == "no answer within 2 s to 4 datagrams"


def test_nonsense_is_told_from_silence() -> None:
    query = ask()
    query.transmit(0)
    query.receive(bytes.fromhex("cffe00 0000 09 0000000000000000"), 0.1)

    query.expire(2)

    assert isinstance(query.error, InvalidResponses)
    assert "discarded: 1 (status)" in str(query.error)


def test_another_dialect_is_named() -> None:
    query = ask(dialect=DIALECTS["v0"])
    query.transmit(0)
    query.receive(bytes.fromhex("feca 00 1234 00 0100000000000000"), 0.1)

    query.expire(2)

    assert isinstance(query.error, OtherDialect)
    assert query.error.reason is FailureReason.DIALECT
    assert "its responses fit group-11" in str(query.error)


def test_a_closed_port_ends_it_at_once() -> None:
    query = ask()
    query.transmit(0)

    query.unreachable("Connection refused", 0.1)

    assert isinstance(query.error, Unreachable)
    assert query.done


def test_the_next_address_is_tried_when_the_first_is_unreachable() -> None:
    query = ask(Command.CONNECTIONS, addresses=(HERE, THERE))
    query.transmit(0)

    query.unreachable("Connection refused", 0.1)

    assert not query.done
    assert (query.address, query.due) == (THERE, 0.1)
    assert query.transmit(0.1)
    assert query.cost.retransmissions == 0


def test_the_next_address_is_tried_when_the_first_is_silent() -> None:
    query = ask(addresses=(HERE, THERE))
    query.transmit(0)

    assert query.turn()
    assert query.address == THERE
    assert not query.turn()


def test_an_address_that_has_answered_is_kept() -> None:
    query = ask(addresses=(HERE, THERE))
    first, *_ = query.transmit(0)
    query.receive(reply(first, 3), 0.1)

    assert not query.turn()
    query.unreachable("Connection refused", 0.2)

    assert query.address == HERE
    assert isinstance(query.error, Unreachable)


def test_identifiers_that_are_taken_are_not_drawn() -> None:
    first, second = ask(), ask()  # the same seed: they would draw the same
    second.identify(first.identifiers)

    assert not first.identifiers & second.identifiers


def test_answers_of_version_0_fit_version_0_alone() -> None:
    assert fitting_dialects(bytes.fromhex("cffe00 1234 00 0000000000000003")) == ["v0"]
    assert fitting_dialects(b"nonsense") == []


def same_seed(questions: RequestTemplate) -> Query:
    query = Query(
        (HERE,),
        questions,
        round_trip=RoundTrip(),
        attempts=3,
        deadline=2,
        random=Random(7),
    )
    query.identify(frozenset())
    return query


@given(st.data(), st.sampled_from(list(DIALECTS.values())))
def test_good_answers_known_by_their_beginning_are_taken_as_decoding_takes_them(
    data: st.DataObject, dialect: Dialect
) -> None:
    questions = RequestTemplate.of(Token(bytes(dialect.token_length)), dialect, dialect.reads)
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
