"""Query state machine without sockets; time is a number in seconds."""

from itertools import pairwise

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
    Resource,
    Shortage,
    Unreachable,
)
from protocol.message import Request, Response, Value, fitting_dialects, result
from protocol.query import Outgoing, Query
from protocol.roundtrip import transmission_time
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
    rto: float = 0.25,
) -> Query:
    template = RequestTemplate.of(
        Token(bytes(dialect.token_length)), dialect, commands or V0.reads
    )
    size = dialect.request_identifier.size
    identifiers = [number.to_bytes(size) for number in range(0x51, 0x51 + len(template.entries))]
    return Query(template, identifiers, addresses, rto=rto, attempts=attempts, deadline=deadline)


def datagrams(outgoing: list[Outgoing], address: Address = HERE) -> list[bytes]:
    assert {to for _, to in outgoing} <= {address}
    return [datagram for datagram, _ in outgoing]


def reply(request: bytes, value: Value, dialect: Dialect = V0) -> bytes:
    asked = Request.decode(request, dialect)
    command = dialect.codes[asked.code]
    return Response(asked.identifier, Status.DONE, result(command, value, dialect)).encode(dialect)


def refusal(request: bytes, status: Status) -> bytes:
    return Response(Request.decode(request).identifier, status).encode()


def test_all_commands_are_sent_simultaneously_with_identifiers_of_their_own() -> None:
    requests = [Request.decode(datagram) for datagram in datagrams(ask().start(0))]

    assert [request.code for request in requests] == [0, 1, 2, 3]
    assert len({request.identifier for request in requests}) == 4


def test_a_query_ends_when_every_command_is_answered() -> None:
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, second = datagrams(query.start(1))

    done = [query.datagram(reply(second, True), HERE, 1.1) or query.done]
    done.append(query.datagram(reply(first, 3), HERE, 1.2) or query.done)

    assert done == [False, True]
    assert query.reading.values == {Command.CONNECTIONS: 3, Command.TRANSFORMS: True}
    assert query.reading.seconds == pytest.approx(0.2)
    assert query.reading.server == HERE


def test_only_unanswered_commands_are_retransmitted_with_the_same_identifier() -> None:
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, second = datagrams(query.start(1))
    query.datagram(reply(first, 3), HERE, 1.1)

    assert datagrams(query.timer(query.due)) == [second]
    query.expire(2)
    assert query.reading.cost.datagrams_sent == 3
    assert query.reading.cost.retransmissions == 1


def transmissions(query: Query, now: float = 0) -> list[float]:
    """Times at which an unanswered query sends."""
    times = [now]
    query.start(now)
    while query.due < query.deadline:
        times.append(query.due)
        assert query.timer(query.due)
    return times


def test_the_first_retransmission_waits_for_the_timeout_and_the_last_is_late() -> None:
    assert transmissions(ask(attempts=3, rto=0.1)) == pytest.approx([0, 0.1, 4 / 3])


def test_attempts_are_made_between_the_start_and_the_deadline() -> None:
    query = ask(attempts=4, rto=0.25, deadline=103)
    query.start(100)
    times = []
    while query.due < query.deadline:
        times.append(query.due)
        query.timer(query.due)

    assert times == pytest.approx([100.25, 100 + 0.5**0.5, 102])
    assert query.due == query.deadline


@given(
    st.floats(0.1, 5),
    st.integers(1, 10),
    st.floats(0.05, 60),
    st.floats(0.9, 1.1),
)
def test_every_retransmission_leaves_time_for_a_response(
    rto: float, attempts: int, budget: float, jitter: float
) -> None:
    times = [transmission_time(attempt, rto, attempts, budget) for attempt in range(attempts)]

    assert len(times) == attempts
    assert times[0] == 0
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] * jitter < 0.75 * budget
    if attempts > 2:
        assert times[1] == pytest.approx(min(rto, budget * 2 / 3 / (attempts - 1)))
    if attempts > 1:  # a query succeeds after an outage at the start
        assert times[-1] >= min(budget * 0.6, 0.25 * (rto * budget) ** 0.5)


def test_no_round_trip_is_measured_for_a_retransmitted_request() -> None:
    query = ask(Command.CONNECTIONS)
    [request] = datagrams(query.start(1))
    query.timer(query.due)

    query.datagram(reply(request, 3), HERE, 1.301)

    assert query.done
    assert query.reading.cost.round_trips == ()


def test_a_round_trip_is_measured_for_a_request_sent_once() -> None:
    query = ask(Command.CONNECTIONS, deadline=7)
    [request] = datagrams(query.start(5))

    query.datagram(reply(request, 3), HERE, 5.25)

    assert query.reading.cost.round_trips == (0.25,)


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
def test_an_unrelated_datagram_is_counted_and_discarded(
    datagram: bytes, reason: DiscardReason
) -> None:
    query = ask(Command.CONNECTIONS)
    [request] = datagrams(query.start(0))

    assert query.datagram(datagram, HERE, 0.1) is reason
    assert not query.done
    query.datagram(reply(request, 3), HERE, 0.2)

    assert query.reading.values == {Command.CONNECTIONS: 3}
    assert query.reading.cost.discarded == {reason: 1}


def test_a_duplicate_answer_is_discarded() -> None:
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, _ = datagrams(query.start(0))
    query.datagram(reply(first, 3), HERE, 0.1)

    assert query.datagram(reply(first, 4), HERE, 0.2) is DiscardReason.IDENTIFIER
    assert query.values == {Command.CONNECTIONS: 3}


def test_a_flag_that_is_neither_on_nor_off_is_discarded() -> None:
    query = ask(Command.TRANSFORMS)
    [request] = datagrams(query.start(0))

    bad = reply(request, True)[:-1] + b"\x07"

    assert query.datagram(bad, HERE, 0.1) is DiscardReason.RESULT
    assert not query.done


def test_a_gauge_below_zero_leaves_the_target_up() -> None:
    dialect = DIALECTS["group-6"]
    query = ask(Command.ACTIVE_CONNECTIONS, Command.TRANSFERRED_BYTES, dialect=dialect)
    gauge, counter = datagrams(query.start(0))

    query.datagram(reply(gauge, -1, dialect), HERE, 0.1)
    query.datagram(reply(counter, -1, dialect), HERE, 0.1)

    assert query.reading.values == {
        Command.ACTIVE_CONNECTIONS: -1,
        Command.TRANSFERRED_BYTES: 2**32 - 1,
    }


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
def test_an_error_status_ends_a_query(status: Status, reason: FailureReason) -> None:
    query = ask()
    first, *_ = datagrams(query.start(0))

    assert query.datagram(refusal(first, status), HERE, 0.1) is None

    assert query.done
    assert isinstance(query.error, Refused)
    assert (query.error.status, query.error.reason) == (status, reason)
    assert status.value in str(query.error)


def test_silence_until_the_deadline_is_reported_as_no_response() -> None:
    query = ask()
    query.start(1)

    query.expire(3)

    assert isinstance(query.error, NoAnswer)
    assert str(query.error) == "no answer within 2 s to 4 datagrams"


def test_invalid_responses_until_the_deadline_are_distinguished_from_silence() -> None:
    query = ask()
    query.start(1)
    query.datagram(bytes.fromhex("cffe00 0000 09 0000000000000000"), HERE, 1.1)

    query.expire(2)

    assert isinstance(query.error, InvalidResponses)
    assert "no valid response: datagrams discarded: " in str(query.error)


def test_another_dialect_is_named() -> None:
    query = ask(dialect=DIALECTS["v0"])
    query.start(1)
    query.datagram(bytes.fromhex("feca 00 1234 00 0100000000000000"), HERE, 1.1)

    query.expire(2)

    assert isinstance(query.error, OtherDialect)
    assert query.error.reason is FailureReason.DIALECT
    assert "group-11" in str(query.error)


def test_a_closed_port_ends_a_query() -> None:
    query = ask()
    query.start(1)

    query.unreachable(HERE, "Connection refused", 1.1, final=True)

    assert isinstance(query.error, Unreachable)
    assert query.done


def test_a_soft_icmp_error_does_not_end_a_query_but_explains_silence() -> None:
    query = ask()
    first, *rest = datagrams(query.start(1))

    query.unreachable(HERE, "No route to host", 1.1, final=False)
    assert not query.done
    query.datagram(reply(first, 3), HERE, 1.2)
    assert datagrams(query.timer(query.due)) == rest
    query.expire(2)

    assert isinstance(query.error, Unreachable)
    assert str(query.error) == "No route to host"


def test_the_next_address_is_queried_immediately_when_the_first_is_unreachable() -> None:
    query = ask(Command.CONNECTIONS, addresses=(HERE, THERE))
    query.start(1)

    query.unreachable(HERE, "Connection refused", 1.1, final=True)
    query.unreachable(HERE, "Connection refused", 1.1, final=True)

    assert not query.done
    assert query.due == 1.1
    assert len(datagrams(query.timer(1.1), THERE)) == 1
    assert query.timer(1.1) == []
    query.expire(2)
    assert query.reading.cost.retransmissions == 0


def test_every_queried_address_is_retried_and_may_answer() -> None:
    query = ask(Command.CONNECTIONS, addresses=(HERE, THERE))
    [request] = datagrams(query.start(1))

    assert [to for _, to in query.timer(query.due)] == [HERE, THERE]
    query.unreachable(THERE, "Connection refused", 1.3, final=True)
    assert [to for _, to in query.timer(query.due)] == [HERE]
    query.datagram(reply(request, 3), HERE, 1.9)

    assert query.reading.values == {Command.CONNECTIONS: 3}


def test_a_query_is_unreachable_only_when_all_its_addresses_are() -> None:
    query = ask(addresses=(HERE, THERE))
    query.start(1)
    query.unreachable(HERE, "Connection refused", 1.1, final=True)
    query.timer(1.1)

    assert not query.done
    query.unreachable(THERE, "Connection refused", 1.2, final=True)

    assert isinstance(query.error, Unreachable)


def test_all_answers_come_from_the_address_that_answered_first() -> None:
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS, addresses=(HERE, THERE))
    first, second = datagrams(query.start(1))
    query.timer(query.due)
    query.datagram(reply(first, 3), THERE, 1.3)

    assert query.datagram(reply(second, True), HERE, 1.4) is DiscardReason.SOURCE
    assert {to for _, to in query.timer(query.due)} == {THERE}
    query.unreachable(THERE, "Connection refused", 1.6, final=True)

    assert isinstance(query.error, Unreachable)


def test_an_answer_from_an_address_not_queried_yet_is_discarded() -> None:
    query = ask(Command.CONNECTIONS, addresses=(HERE, THERE))
    [request] = datagrams(query.start(1))

    assert query.datagram(reply(request, 3), THERE, 1.1) is DiscardReason.SOURCE


def test_a_datagram_that_the_kernel_refused_is_sent_again_soon() -> None:
    query = ask(Command.CONNECTIONS)
    [outgoing] = query.start(1.01)

    query.refused(outgoing, Resource.SEND_QUEUE, 1.01)
    assert query.due == pytest.approx(1.02)
    assert query.timer(query.due) == [outgoing]
    query.datagram(reply(outgoing[0], 3), HERE, 1.1)

    cost = query.reading.cost
    assert (cost.datagrams_sent, cost.retransmissions, len(cost.round_trips)) == (1, 0, 1)


def test_requests_that_were_never_sent_are_a_local_shortage() -> None:
    query = ask(Command.CONNECTIONS)
    [outgoing] = query.start(1)
    query.refused(outgoing, Resource.SEND_QUEUE, 1)

    query.expire(2)

    with pytest.raises(Shortage) as caught:
        _ = query.reading
    assert caught.value.resource is Resource.SEND_QUEUE


def test_a_query_that_missed_its_retransmissions_in_a_stall_is_a_local_shortage() -> None:
    query = ask()
    query.start(1)
    query.expire(3, stalled=True)

    with pytest.raises(Shortage) as caught:
        _ = query.reading
    assert caught.value.resource is Resource.STALL


def test_silence_after_all_retransmissions_is_no_response_even_after_a_stall() -> None:
    query = ask(attempts=1)
    query.start(1)
    query.expire(3, stalled=True)

    assert isinstance(query.error, NoAnswer)


def test_only_a_prefix_of_an_unanswered_request_is_recognised_as_its_own() -> None:
    query = ask(Command.CONNECTIONS, Command.TRANSFORMS)
    first, second = datagrams(query.start(1))
    query.datagram(reply(first, 3), HERE, 1.1)

    assert query.has_sent(second)
    assert query.has_sent(second[:8])
    assert not query.has_sent(second[:4])
    assert not query.has_sent(b"")
    assert not query.has_sent(second[:-1] + b"\xff")
    assert not query.has_sent(first)


def test_responses_of_version_0_match_only_version_0() -> None:
    assert fitting_dialects(bytes.fromhex("cffe00 1234 00 0000000000000003")) == ["v0"]
    assert fitting_dialects(b"nonsense") == []


@given(st.data(), st.sampled_from(list(DIALECTS.values())))
def test_a_value_always_comes_from_a_valid_response(data: st.DataObject, dialect: Dialect) -> None:
    """Feeds responses in any order, some corrupted or cut: no value is of another command or an invalid datagram."""
    query = ask(*dialect.reads, dialect=dialect)
    requests = datagrams(query.start(1))
    sent: dict[Command, set[Value]] = {}
    for step in range(data.draw(st.integers(1, 12))):
        request = Request.decode(data.draw(st.sampled_from(requests)), dialect)
        command = dialect.codes[request.code]
        status = data.draw(st.sampled_from(list(dialect.statuses.values())))
        octets = bytearray(dialect.result.size)
        value: Value = dialect.operations[command].flag or data.draw(st.integers(0, 2**31 - 1))
        octets[:] = result(command, value, dialect)
        good = Response(request.identifier, status, bytes(octets)).encode(dialect)
        changed = bytearray(good)
        if data.draw(st.booleans()):
            place = dialect.response_identifier
            told_apart = [*range(len(dialect.header)), *range(place.offset, place.end)]
            changed[data.draw(st.sampled_from([*told_apart, dialect.status.offset]))] ^= 0xFF
        datagram = bytes(changed)[: data.draw(st.sampled_from([None, -1, 6]))]
        before = dict(query.values)
        reason = query.datagram(datagram, HERE, 1 + step / 100)
        if datagram == good and status is Status.DONE:
            sent.setdefault(command, set()).add(value)
        if reason is not None or query.error:
            assert query.values == before

    for command, found in query.values.items():
        assert found in sent.get(command, set())
