"""Connection and Reader over real sockets, with valid and faulty servers."""

import asyncio
import errno
import inspect
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from protocol.address import Address, HostPort
from protocol.client import Connection, Peer, Reading, connect
from protocol.dialect import Dialect, Field
from protocol.dialects import DIALECTS, V0
from protocol.errors import (
    DiscardReason,
    FailureReason,
    NoAnswer,
    ReadbackMismatch,
    Refused,
    Resource,
    Shortage,
    UnknownName,
    Unreachable,
)
from protocol.message import Request, Response, Value
from protocol.port import BatchPort, Port
from protocol.reader import Reader
from protocol.server import serve
from protocol.token import Token
from protocol.trace import Event
from protocol.vocabulary import WRITES, Command, Status
from tests.support.fleet import read_all
from tests.support.udp import udp_server, udp_socket

TOKEN = Token.parse("secretpa")
NUMBERS = {
    Command.CONNECTIONS: 5,
    Command.ACTIVE_CONNECTIONS: 2,
    Command.TRANSFERRED_BYTES: 2**63 + 1,
}


class Switch:
    def __init__(self, *, stuck: bool = False) -> None:
        self.on = True
        self.stuck = stuck

    def answer(self, command: Command) -> Value:
        if command in (Command.ENABLE_TRANSFORMS, Command.DISABLE_TRANSFORMS) and not self.stuck:
            self.on = command is Command.ENABLE_TRANSFORMS
        return NUMBERS.get(command, self.on)


def peer(port: int, token: Token = TOKEN, dialect: Dialect = V0, host: str = "127.0.0.1") -> Peer:
    return Peer(HostPort(host, port), token, dialect)


def dialect_like_v0(**change: Any) -> Dialect:
    given = {f.name: getattr(V0, f.name) for f in fields(V0) if f.init}
    return Dialect(**(given | change))


async def read(asked: Peer, seconds: float = 5, attempts: int = 3) -> Reading:
    async with connect(asked) as connection:
        return await connection.read(timeout=seconds, attempts=attempts)


def valid_response(request: bytes, number: int = 3) -> bytes:
    """A valid response: `number`, or on for the state of the transforms."""
    asked = Request.decode(request)
    value = 0 if asked.code == 3 else number
    return Response(asked.identifier, Status.DONE, value.to_bytes(8)).encode()


async def test_all_counters_are_read_simultaneously_and_the_cost_is_reported() -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        reading = await read(peer(endpoint.port))

    assert reading.values == NUMBERS | {Command.TRANSFORMS: True}
    assert reading.cost.datagrams_sent == 4
    assert reading.cost.retransmissions == 0
    assert len(reading.cost.round_trips) == 4
    assert 0 < max(reading.cost.round_trips) <= reading.seconds < 1


async def test_a_single_command_can_be_queried() -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        async with connect(peer(endpoint.port)) as connection:
            reading = await connection.ask(Command.CONNECTIONS, timeout=5)

    assert reading[Command.CONNECTIONS] == 5
    assert reading.cost.datagrams_sent == 1


async def test_setting_the_transforms_reports_the_state_read_back() -> None:
    switch = Switch()
    async with (
        serve("127.0.0.1", 0, TOKEN, switch.answer) as endpoint,
        connect(peer(endpoint.port)) as connection,
    ):
        off = await connection.set_transforms(False, timeout=5)
        state_between = switch.on
        on = await connection.set_transforms(True, timeout=5)

    assert (off.before, state_between, on.before) == (True, False, False)
    assert off.reading[Command.TRANSFORMS] is False
    assert on.reading[Command.TRANSFORMS] is True
    cost = off.reading.cost
    assert cost.datagrams_sent - cost.retransmissions == 3


async def test_a_server_that_does_not_keep_the_state_is_a_readback_mismatch() -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch(stuck=True).answer) as endpoint:
        async with connect(peer(endpoint.port)) as connection:
            reading = (await connection.set_transforms(False, timeout=5)).reading

    assert isinstance(reading.error, ReadbackMismatch)
    assert str(reading.error) == "transforms read back as on after being set off"
    assert reading.values == {}


async def test_nothing_is_written_to_a_server_that_rejects_the_read() -> None:
    asked: list[bytes] = []

    def refuse(request: bytes) -> list[bytes]:
        asked.append(request)
        refusal = Response(Request.decode(request).identifier, Status.AUTHENTICATION_FAILED)
        return [refusal.encode()]

    async with udp_server(refuse) as port, connect(peer(port)) as connection:
        switched = await connection.set_transforms(False, timeout=5)

    assert switched.before is None
    assert isinstance(switched.reading.error, Refused)
    assert [Request.decode(request).code for request in asked] == [3]


async def test_a_wrong_token_is_rejected_and_reading_a_value_raises() -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        reading = await read(peer(endpoint.port, Token.parse("wrongone")))

    with pytest.raises(Refused, match="authentication failed"):
        reading[Command.CONNECTIONS]


async def test_a_closed_port_is_reported_immediately_and_distinct_from_silence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    started = time.monotonic()

    reading = await read(peer(port), seconds=30)

    assert isinstance(reading.error, Unreachable)
    assert str(reading.error) == "Connection refused"
    assert time.monotonic() - started < 5


async def test_a_silent_server_is_reported_at_the_deadline() -> None:
    async with udp_server(lambda request: []) as port:
        started = time.monotonic()
        reading = await read(peer(port), seconds=0.3)
        waited = time.monotonic() - started

    assert isinstance(reading.error, NoAnswer)
    assert reading.cost.datagrams_sent == 12
    assert reading.cost.retransmissions == 8
    assert waited == pytest.approx(0.3, abs=0.2)


async def test_a_lost_datagram_is_sent_again() -> None:
    seen: Counter[bytes] = Counter()

    def drop_the_first(request: bytes) -> list[bytes]:
        seen[request] += 1
        return [valid_response(request)] if seen[request] > 1 else []

    async with udp_server(drop_the_first) as port:
        reading = await read(peer(port))

    assert reading[Command.CONNECTIONS] == 3
    assert reading.cost.retransmissions == 4
    assert reading.cost.round_trips == ()


async def test_forged_and_broken_responses_before_the_valid_one_are_discarded() -> None:
    def respond(request: bytes) -> list[bytes]:
        valid = valid_response(request)
        return [
            valid[:-1],
            valid + b"\0",
            b"\xcf\xff" + valid[2:],
            valid[:2] + b"\1" + valid[3:],
            valid[:3] + bytes([valid[3] ^ 1]) + valid[4:],
            valid[:5] + b"\x42" + valid[6:],
            request,
            valid,
            valid,
        ]

    async with udp_server(respond) as port, connect(peer(port)) as connection:
        reading = await connection.ask(Command.CONNECTIONS, timeout=5)

    assert reading[Command.CONNECTIONS] == 3
    assert reading.cost.discarded.keys() >= {
        DiscardReason.SIZE,
        DiscardReason.SIGNATURE,
        DiscardReason.VERSION,
        DiscardReason.IDENTIFIER,
        DiscardReason.STATUS,
    }


async def test_a_forged_response_from_another_address_is_discarded() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        events: list[Event] = []

        async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
            here = ("127.0.0.1", endpoint.port)

            def forge(event: Event) -> None:
                events.append(event)
                if event.kind == "sent" and other.fileno() >= 0:
                    (client,) = connection._multiplexer.sockets._ports.values()
                    forged = event.datagram[:5] + bytes(7) + b"\x63\0"
                    other.sendto(forged, ("127.0.0.1", client.opened.getsockname()[1]))

            async with connect(peer(endpoint.port), forge) as connection:
                reading = await connection.ask(Command.CONNECTIONS, timeout=5)
                assert reading[Command.CONNECTIONS] == 5
                again = await connection.ask(Command.CONNECTIONS, timeout=5)
                other.close()
                await connection.ask(Command.CONNECTIONS, timeout=5)
                quiet = await connection.ask(Command.CONNECTIONS, timeout=5)

    assert quiet.cost.discarded == {}
    assert again[Command.CONNECTIONS] == 5
    assert again.cost.discarded[DiscardReason.SOURCE] >= 1
    assert {event.address for event in events if event.kind == "accepted"} == {here}


async def test_a_connection_can_be_queried_again_immediately_after_a_cancellation() -> None:
    silent: list[bytes] = []

    def respond(request: bytes) -> list[bytes]:
        silent.append(request)
        return [] if len(silent) <= 1 else [valid_response(request)]

    async with udp_server(respond) as port, connect(peer(port)) as connection:
        asked = asyncio.create_task(connection.ask(Command.CONNECTIONS, timeout=60))
        async with asyncio.timeout(5):
            while not silent:
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait([asked])
            reading = await connection.ask(Command.CONNECTIONS, timeout=60)

    assert reading[Command.CONNECTIONS] == 3
    assert reading.cost.datagrams_sent == 1


async def test_a_trace_shows_every_datagram_and_no_token() -> None:
    events: list[Event] = []
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        async with connect(peer(endpoint.port), events.append) as connection:
            reading = await connection.read(timeout=5)

    kinds = Counter(event.kind for event in events)
    assert (kinds["sent"], kinds["accepted"]) == (reading.cost.datagrams_sent, 4)
    assert not [event for event in events if TOKEN.octets in event.datagram]


async def test_a_name_whose_first_address_is_closed_is_read_at_the_next() -> None:
    """localhost is ::1 and 127.0.0.1 on most machines; on others the single address answers."""
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        began = time.monotonic()
        reading = await read(peer(endpoint.port, host="localhost"))
        elapsed = time.monotonic() - began

    assert reading[Command.CONNECTIONS] == 5
    assert max(reading.cost.round_trips) <= reading.seconds <= elapsed


async def test_a_full_send_queue_until_the_deadline_is_a_shortage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> tuple[int, bool]:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    monkeypatch.setattr(Port, "send", refuse)
    monkeypatch.setattr(BatchPort, "send", refuse)
    with pytest.raises(Shortage) as caught:
        await read(peer(7030), seconds=0.1)

    assert caught.value.resource is Resource.SEND_QUEUE


@pytest.mark.parametrize(
    "operation",
    [Connection.ask, Connection.read, Connection.set_transforms, Reader.read, Reader.read_all],
)
def test_every_operation_has_three_attempts_by_default(operation: Callable[..., object]) -> None:
    assert inspect.signature(operation).parameters["attempts"].default == 3


async def test_the_next_address_is_queried_when_the_first_is_silent() -> None:
    async with (
        udp_server(lambda request: []) as silent,
        serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint,
    ):
        asked = peer(silent)
        asked.numeric = (("127.0.0.1", silent), ("127.0.0.1", endpoint.port))
        reading = await read(asked)

    assert reading[Command.CONNECTIONS] == 5


async def test_the_next_address_is_queried_immediately_when_the_first_is_closed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        asked = peer(closed)
        addresses = [("127.0.0.1", closed), ("127.0.0.2", closed), ("127.0.0.1", endpoint.port)]
        asked.numeric = tuple(addresses)
        started = time.monotonic()
        reading = await read(asked)

    assert reading[Command.CONNECTIONS] == 5
    assert (
        4 < reading.cost.datagrams_sent <= 12
    )  # the system reports a closed port after the first or the next
    assert reading.cost.retransmissions == 0
    assert time.monotonic() - started < 0.2  # less than the first retransmission would wait


async def test_a_server_is_read_over_ipv6() -> None:
    async with serve("::1", 0, TOKEN, Switch().answer) as endpoint:
        reading = await read(peer(endpoint.port, host="::1"))

    assert reading[Command.CONNECTIONS] == 5


async def test_a_name_without_an_address_is_an_unknown_name_error() -> None:
    reading = await read(peer(7030, host="no-such-host.invalid"))

    assert isinstance(reading.error, UnknownName)
    assert reading.error.reason is FailureReason.NAME


async def test_silent_targets_do_not_delay_simultaneous_readings() -> None:
    numbers = iter(range(10**6))
    async with (
        udp_server(lambda request: []) as silent,
        serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint,
        serve("127.0.0.1", 0, Token.parse("otherone"), lambda _: next(numbers) * 0) as other,
    ):
        peers = [
            peer(endpoint.port),
            peer(silent),
            peer(other.port, Token.parse("otherone")),
            peer(endpoint.port, Token.parse("wrongone")),
            peer(7030, host="no-such-host.invalid"),
            peer(endpoint.port, host="localhost"),
        ]
        started = time.monotonic()
        readings = await read_all(peers, timeout=0.5)
        waited = time.monotonic() - started

    assert [reading.error and reading.error.reason for reading in readings] == [
        None,
        FailureReason.TIMEOUT,
        None,
        FailureReason.AUTHENTICATION,
        FailureReason.NAME,
        None,
    ]
    assert waited == pytest.approx(0.5, abs=0.3)
    assert readings[0].seconds < 0.4


async def test_closed_ports_among_many_targets_are_reported_immediately() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        peers = [
            peer(closed, host=f"127.0.0.{number + 1}") if number % 3 == 0 else peer(endpoint.port)
            for number in range(100)
        ]
        readings = await read_all(peers, timeout=20)

    assert [reading.error and reading.error.reason for reading in readings] == [
        FailureReason.UNREACHABLE if number % 3 == 0 else None for number in range(100)
    ]
    assert max(reading.seconds for reading in readings if reading.error) < 10


async def test_hundreds_of_targets_at_one_address_are_not_confused() -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        readings = await read_all([peer(endpoint.port) for _ in range(500)], timeout=10)

    assert all(reading.values == readings[0].values for reading in readings)
    assert readings[0][Command.CONNECTIONS] == 5


@pytest.mark.parametrize(
    "dialect", [replace(V0, identifier_echo="good"), replace(V0, zeroed_errors=True)]
)
async def test_an_error_without_an_identifier_is_not_attributed_to_another_target(
    dialect: Dialect,
) -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer, dialect) as server:
        wrong = peer(server.port, Token.parse("mistaken"), dialect)
        refused, answered = await read_all([wrong, peer(server.port, dialect=dialect)], timeout=5)

    assert refused.error
    assert refused.error.reason is FailureReason.AUTHENTICATION
    assert answered.error is None


async def test_stray_datagrams_are_counted_when_many_targets_are_read() -> None:
    strays: Counter[DiscardReason] = Counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:

        def send_a_stray_datagram_first(
            datagram: bytes, source: tuple[str, int]
        ) -> list[tuple[bytes, tuple[str, int]]]:
            other.sendto(b"hello", source)
            return [(valid_response(datagram), source)]

        async with udp_socket(send_a_stray_datagram_first) as opened:
            (reading,) = await read_all([peer(opened.getsockname()[1])], timeout=5, strays=strays)

    assert reading[Command.CONNECTIONS] == 3
    assert 0 < strays[DiscardReason.SOURCE] <= 4


async def test_cancellation_leaves_no_open_socket() -> None:
    async with udp_server(lambda request: []) as silent:
        before = len(list(Path("/proc/self/fd").iterdir()))
        task = asyncio.create_task(read(peer(silent), seconds=30))
        bulk = asyncio.create_task(read_all([peer(silent)], timeout=30))
        while len(list(Path("/proc/self/fd").iterdir())) < before + 2:
            await asyncio.sleep(0)
        task.cancel()
        bulk.cancel()
        await asyncio.gather(task, bulk, return_exceptions=True)

        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert task.cancelled()
        assert bulk.cancelled()


@pytest.mark.parametrize("name", DIALECTS)
async def test_every_dialect_is_read_as_served(name: str) -> None:
    dialect = DIALECTS[name]
    token = Token(bytes(range(1, dialect.token_length + 1)))

    def answer(command: Command) -> Value:
        return dialect.operations[command].flag or len(command)

    async with serve("127.0.0.1", 0, token, answer, dialect) as endpoint:
        reading = await read(peer(endpoint.port, token, dialect))

    assert reading.values == {command: answer(command) for command in dialect.reads}


@pytest.mark.parametrize("name", DIALECTS)
async def test_reading_sends_no_command_that_writes(name: str) -> None:
    """Checks the bytes sent, as a code that reads in one dialect writes in another."""
    dialect = DIALECTS[name]
    sent: set[int] = set()

    def listen(request: bytes) -> list[bytes]:
        sent.add(request[dialect.command.offset])
        return []

    async with udp_server(listen) as port:
        asked = peer(port, Token(bytes(dialect.token_length)), dialect)
        await read(asked, seconds=0.2)
        await read_all([asked], timeout=0.2)

    writes = {dialect.operations[command].code for command in WRITES & dialect.operations.keys()}
    assert sent == {dialect.operations[command].code for command in dialect.reads}
    assert not sent & writes


@pytest.mark.parametrize("change", [{"identifier_echo": "never"}, {"zeroed_errors": True}])
async def test_servers_without_identifiers_are_read_one_command_at_a_time(
    change: dict[str, Any],
) -> None:
    dialect = dialect_like_v0(**change)
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer, dialect) as endpoint:
        good = peer(endpoint.port, TOKEN, dialect)
        bad = peer(endpoint.port, Token.parse("wrongone"), dialect)
        readings = [await read(good), *await read_all([good, bad], timeout=5)]

    assert [reading.error and reading.error.reason for reading in readings] == [
        None,
        None,
        FailureReason.AUTHENTICATION,
    ]
    assert readings[0].values == readings[1].values == NUMBERS | {Command.TRANSFORMS: True}


async def test_a_one_byte_token_is_masked_only_in_its_own_field() -> None:
    events: list[Event] = []
    dialect, token = DIALECTS["group-6"], Token(b"\x02")

    async with serve("127.0.0.1", 0, token, lambda _: 2, dialect) as endpoint:
        async with connect(peer(endpoint.port, token, dialect), events.append) as connection:
            await connection.ask(Command.CONNECTIONS, timeout=5)

    sent, accepted = (event.datagram for event in events)
    assert sent[dialect.authentication.span] == b"*"
    assert accepted[dialect.result.span] == b"\x02\0\0\0"


class Unresolved(Peer):
    """A name whose name server is silent until the deadline."""

    async def addresses(self, deadline: float) -> tuple[Address, ...]:
        await asyncio.sleep(deadline - asyncio.get_running_loop().time())
        raise UnknownName("name resolution timed out")


async def test_a_silent_name_server_delays_no_other_target() -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        slow = Unresolved(HostPort("slow.invalid", 7030), TOKEN)
        peers = [slow, peer(endpoint.port), peer(endpoint.port, host="localhost")]
        readings = await read_all(peers, timeout=0.5)

    assert [reading.error and reading.error.reason for reading in readings] == [
        FailureReason.NAME,
        None,
        None,
    ]
    assert max(reading.seconds for reading in readings) < 0.3


async def test_an_expired_deadline_is_reported_as_such() -> None:
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        alone = await read(peer(endpoint.port), seconds=0)
        (together,) = await read_all([peer(endpoint.port)], timeout=0)

    for reading in (alone, together):
        assert str(reading.error) == "deadline expired before a request was sent"
        assert (reading.seconds, reading.cost.datagrams_sent) == (0, 0)


async def test_targets_with_a_socket_each_leave_descriptors_for_others() -> None:
    dialect = dialect_like_v0(identifier_echo="never")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer, dialect) as endpoint:
        opened = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 150, hard))
        try:
            peers = [peer(endpoint.port, TOKEN, dialect) for _ in range(400)]
            readings = await read_all(peers, timeout=20)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert [reading.error for reading in readings if reading.error] == []


async def test_a_lack_of_descriptors_is_not_reported_as_a_failed_target() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer) as endpoint:
        with Path("/dev/null").open() as next_one:
            lowest = next_one.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            for asking in (read(peer(endpoint.port)), read_all([peer(endpoint.port)], timeout=5)):
                with pytest.raises(Shortage, match="Too many open files") as caught:
                    await asking
                assert caught.value.resource is Resource.DESCRIPTORS
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert (await read(peer(endpoint.port))).error is None


async def test_more_queries_than_identifiers_use_further_sockets_without_confusion() -> None:
    dialect = dialect_like_v0(request_identifier=Field(4, 1), response_identifier=Field(4, 1))
    async with serve("127.0.0.1", 0, TOKEN, Switch().answer, dialect) as endpoint:
        peers = [peer(endpoint.port, TOKEN, dialect) for _ in range(70)]
        readings = await read_all(peers, timeout=10)

    assert [reading[Command.CONNECTIONS] for reading in readings] == [5] * 70


async def test_the_duration_of_a_reading_includes_name_resolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(*_: object, **__: object) -> list[object]:
        time.sleep(0.1)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    asked = [peer(7030, host="mail.example"), peer(7031, host="mail.example")]
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    readings = [await read(asked[0]), *await read_all(asked, timeout=5)]

    assert all(isinstance(reading.error, UnknownName) for reading in readings)
    assert min(reading.seconds for reading in readings) >= 0.09
