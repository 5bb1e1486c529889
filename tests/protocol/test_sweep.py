"""Column path and plain path over the same network: each target has the same outcome."""

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from math import inf
from random import Random

import pytest

from protocol import fleet_tables
from protocol.address import HostPort
from protocol.client import Peer
from protocol.dialect import Dialect, Field, Operation
from protocol.dialects import DIALECTS, V0
from protocol.errors import DiscardReason, FailureReason
from protocol.fleet_tables import FleetTables
from protocol.message import Request, Response, Value
from protocol.mmsg import MessageBatch
from protocol.multiplexer import Multiplexer
from protocol.port import Port
from protocol.reader import Reader
from protocol.reading import Reading
from protocol.readings import Readings
from protocol.server import serve
from protocol.sockets import Sockets
from protocol.sweep import Sweep
from protocol.sweep_table import SweepTable, can_sweep
from protocol.template import RequestTemplate
from protocol.token import Token
from protocol.vocabulary import Command, Status
from tests.support.every_address import every_address, received, send
from tests.support.script import FAULTS, Fault, scripted_network, value
from tests.support.udp import udp_socket

Script = Mapping[tuple[str, int], Sequence[Fault]]


def token(dialect: Dialect) -> Token:
    return Token(bytes(range(1, dialect.token_length + 1)))


SWEPT = [dialect for dialect in DIALECTS.values() if can_sweep(dialect)]


def host(number: int) -> str:
    return f"127.78.{number >> 8}.{number & 255}"


@dataclass(frozen=True)
class Outcome:
    """Values, error and cost of a reading, without times."""

    values: Mapping[Command, Value | None]
    reason: FailureReason | None
    error: str
    sent: int
    retransmissions: int
    round_trips: int
    discarded: Mapping[DiscardReason, int]

    @classmethod
    def of(cls, reading: Reading) -> "Outcome":
        cost = reading.cost
        silent = reading.error and reading.error.reason is FailureReason.TIMEOUT
        return cls(
            reading.values,
            reading.error.reason if reading.error else None,
            "" if silent else str(reading.error or ""),  # the message contains the seconds waited
            cost.datagrams_sent,
            cost.retransmissions,
            len(cost.round_trips),
            dict(cost.discarded),
        )


async def read(
    dialect: Dialect, script: Script, hosts: Sequence[str], closed: set[str], *, by_columns: bool
) -> tuple[list[Outcome], Counter[DiscardReason]]:
    """Outcome for each host, and the number of stray datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.78.255.255", 0))
        closed_port = unused.getsockname()[1]
    async with scripted_network(dialect, script) as port:
        peers = [
            Peer(HostPort(one, closed_port if one in closed else port), token(dialect), dialect)
            for one in hosts
        ]
        reader = Reader()
        with pytest.MonkeyPatch.context() as patch:
            if not by_columns:
                patch.setattr(fleet_tables, "can_sweep", lambda dialect: False)
            readings = await reader.read_all(peers, timeout=1.2)
        reader.close()
    return [Outcome.of(reading) for reading in readings], Counter(reader.take_strays())


def draw(random: Random, dialect: Dialect, hosts: Sequence[str]) -> Script:
    """Draws some fault for most targets; a few never answer."""
    script: dict[tuple[str, int], Sequence[Fault]] = {}
    codes = [dialect.operations[command].code for command in dialect.reads]
    for one in hosts:
        if random.random() < 0.05:
            script |= dict.fromkeys([(one, code) for code in codes], ["lose"] * 3)
        for code in random.sample(codes, random.choice([0, 1, 1, 2, len(codes)])):
            script[one, code] = random.choices(FAULTS, k=3)
    return script


@pytest.mark.parametrize("dialect", SWEPT, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("seed", range(2))
async def test_the_column_path_and_the_plain_path_return_the_same(
    dialect: Dialect, seed: int
) -> None:
    random = Random(seed)
    hosts = [host(number) for number in range(200)]
    closed = set(random.sample(hosts, 8))
    script = draw(random, dialect, hosts)
    differing = hosts
    for _ in range(4):  # on a busy machine a response may be late in one of the two
        columns, strays = await read(dialect, script, differing, closed, by_columns=True)
        plain, plain_strays = await read(dialect, script, differing, closed, by_columns=False)
        pairs = list(zip(differing, columns, plain, strict=True))
        differing = [one for one, left, right in pairs if left != right]
        if not differing:
            break
    assert [pair for pair in pairs if pair[0] in differing] == []
    assert strays.keys() == plain_strays.keys()


async def fleet(
    count: int, dialect: Dialect = V0, script: Script | None = None, timeout: float = 5
) -> Readings:
    async with scripted_network(dialect, script or {}) as port:
        peers = [
            Peer(HostPort(host(number), port), token(dialect), dialect) for number in range(count)
        ]
        reader = Reader()
        readings = await reader.read_all(peers, timeout=timeout)
        reader.close()
    return readings


@pytest.mark.parametrize("dialect", SWEPT, ids=lambda dialect: dialect.name)
async def test_a_healthy_fleet_is_read_on_the_column_path_only(dialect: Dialect) -> None:
    readings = await fleet(500, dialect)

    assert readings.others == {}
    for number, reading in enumerate(readings):
        assert reading.values == {
            command: value(host(number), command) for command in dialect.reads
        }
        assert reading.cost.datagrams_sent == len(dialect.reads)
        assert len(reading.cost.round_trips) == len(dialect.reads)
        assert 0 < max(reading.cost.round_trips) <= reading.seconds < 5


@pytest.mark.parametrize(
    ("size", "by_columns"), [(1, True), (2, True), (3, False), (4, True), (7, False), (8, True)]
)
def test_numbers_of_the_sizes_of_struct_use_the_column_path(size: int, by_columns: bool) -> None:
    operations = {Command.CONNECTIONS: Operation(0, Field(6, size))}

    assert can_sweep(replace(V0, operations=operations)) is by_columns


def test_most_dialects_use_the_column_path() -> None:
    assert [dialect.name for dialect in SWEPT] == ["v0", "group-4", "group-11"]


async def test_a_target_with_duplicate_identifiers_draws_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[int] = []
    honest = os.urandom

    def same_at_first(count: int) -> bytes:
        drawn.append(count)
        return bytes(count) if len(drawn) == 1 else honest(count)

    monkeypatch.setattr("protocol.sweep_table.os.urandom", same_at_first)
    readings = await fleet(3)

    assert [reading.error for reading in readings] == [None] * 3
    assert drawn[:2] == [24, 24]


async def test_a_silent_target_does_not_delay_others_and_is_retried() -> None:
    silent: Script = {(host(1), code): ["lose", "lose", "lose"] for code in range(4)}
    readings = await fleet(100, script=silent, timeout=0.6)

    assert list(readings.errors) == [1]
    assert set(readings.others) == {1}
    assert readings.totals() == (99 * 4 + 12, 8)
    assert (sum(readings.datagrams_sent()), sum(readings.retransmissions())) == readings.totals()
    assert len(readings.round_trips()) == 99 * 4
    assert readings[1].cost.datagrams_sent == 12
    assert max(readings[0].seconds, readings[99].seconds) < 0.3


async def test_silent_targets_of_many_dialects_leave_time_for_the_last_dialect() -> None:
    dialects = [replace(V0, name=f"own-{number}") for number in range(8)]
    async with AsyncExitStack() as opened:
        peers = []
        for dialect in dialects:
            silent = await opened.enter_async_context(udp_socket(lambda *_: []))
            peers.append(Peer(HostPort(*silent.getsockname()), token(V0), dialect))
        good = await opened.enter_async_context(serve("127.0.0.1", 0, token(V0), lambda _: True))
        peers.append(Peer(HostPort("127.0.0.1", good.port), token(V0)))
        readings = await Reader().read_all(peers, timeout=0.7)

    assert list(readings.errors) == list(range(8))
    assert [one.cost.datagrams_sent for one in readings] == [12] * 8 + [4]


async def test_a_closed_port_is_reported_and_the_others_use_the_column_path() -> None:
    hosts = [host(number) for number in range(60)]
    outcomes, _ = await read(V0, {}, hosts, {host(5), host(40)}, by_columns=True)

    down = [number for number, one in enumerate(outcomes) if one.reason]
    assert down == [5, 40]
    assert outcomes[5].reason is FailureReason.UNREACHABLE
    assert {one.sent for one in outcomes} == {4}


async def test_a_request_that_the_kernel_refuses_is_sent_again_before_any_retransmission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    send = MessageBatch.send

    def refuse_the_sixth(
        batch: MessageBatch, opened: socket.socket, first: int, count: int
    ) -> int:
        nonlocal calls
        calls += 1
        assert first + count <= 12
        if calls == 2:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return send(batch, opened, first, 5 if calls == 1 else count)

    async with scripted_network(V0, {}) as port:
        peers = [Peer(HostPort(host(number), port), token(V0)) for number in range(3)]
        for one in peers:
            one.round_trip.smoothed = 20.0  # the first retransmission would be after ten seconds
        reader = Reader()
        monkeypatch.setattr(MessageBatch, "send", refuse_the_sixth)
        readings = await reader.read_all(peers, timeout=30)
        reader.close()

    assert readings.errors == {}
    assert (readings.datagrams_sent(), readings.retransmissions()) == ([4] * 3, [0] * 3)
    assert max(readings.seconds()) < 5


async def test_targets_that_share_an_address_are_read_separately() -> None:
    async with serve(
        "127.0.0.1", 0, token(V0), lambda command: command is Command.TRANSFORMS
    ) as server:
        where = HostPort("127.0.0.1", server.port)
        peers = [Peer(where, Token(b"mistaken")), Peer(where, token(V0))]
        readings = await Reader().read_all(peers, timeout=5)

    assert [one.error and one.error.reason for one in readings] == [
        FailureReason.AUTHENTICATION,
        None,
    ]


async def test_address_families_and_dialects_are_read_together() -> None:
    def answer(command: Command) -> Value:
        return len(command)

    group = DIALECTS["group-11"]
    async with (
        serve("127.0.0.1", 0, token(V0), lambda command: command is Command.TRANSFORMS) as four,
        serve("::1", 0, token(V0), lambda command: command is Command.TRANSFORMS) as six,
        serve("127.0.0.1", 0, token(group), answer, group) as eleven,
    ):
        peers = [
            Peer(HostPort("127.0.0.1", four.port), token(V0)),
            Peer(HostPort("127.0.0.1", eleven.port), token(group), group),
            Peer(HostPort("::1", six.port), token(V0)),
            Peer(HostPort("localhost", four.port), token(V0)),
        ]
        readings = await Reader().read_all(peers, timeout=5)

    assert [one.error for one in readings] == [None] * 4
    assert readings[1].values == {command: len(command) for command in group.reads}
    assert readings.values(Command.TRANSFORMS) == [True, None, True, True]
    assert set(readings.others) == {3}


async def test_a_system_without_ipv6_reads_the_other_targets_by_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Sockets.open

    def without_ipv6(sockets: Sockets, family: socket.AddressFamily) -> Port:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return opened(sockets, family)

    monkeypatch.setattr(Sockets, "open", without_ipv6)
    async with serve("127.0.0.1", 0, token(V0), lambda _: True) as server:
        peers = [Peer(HostPort(one, server.port), token(V0)) for one in ("127.0.0.1", "::1")]
        readings = await Reader().read_all(peers, timeout=0.5)

    assert [one.error and one.error.reason for one in readings] == [
        None,
        FailureReason.UNREACHABLE,
    ]
    assert set(readings.others) == {1}


async def test_a_changed_token_is_sent_from_the_next_reading_on() -> None:
    async with serve("127.0.0.1", 0, token(V0), lambda _: True) as server:
        peers = [Peer(HostPort("127.0.0.1", server.port), Token(b"mistaken"))]
        reader = Reader()
        refused = await reader.read_all(peers, timeout=5)
        peers[0].token = token(V0)
        answered = await reader.read_all(peers, timeout=5)

    assert refused[0].error
    assert answered[0].error is None


async def test_a_token_that_changes_while_the_tables_are_made_outdates_them() -> None:
    peers = [Peer(HostPort(host(number), 7030), Token(b"mistaken")) for number in range(2)]

    def template_of(peer: Peer) -> RequestTemplate:
        peers[0].token = token(V0) if peer is peers[1] else peer.token
        return RequestTemplate.of(peer.token, V0, V0.reads)

    tables = await FleetTables.of(peers, template_of)

    assert not tables.is_of(peers)


async def test_a_target_without_time_left_is_not_queried() -> None:
    readings = await fleet(3, timeout=0)

    assert {str(one.error) for one in readings} == {"deadline expired before a request was sent"}
    assert {one.cost.datagrams_sent for one in readings} == {0}


async def test_round_trip_estimates_are_updated() -> None:
    async with scripted_network(V0, {}) as port:
        peers = [Peer(HostPort(host(number), port), token(V0)) for number in range(40)]
        readings = await Reader().read_all(peers, timeout=5)

    for peer, reading in zip(peers, readings, strict=True):
        if not reading.cost.retransmissions:  # by a busy machine
            assert peer.round_trip.smoothed == min(reading.cost.round_trips)


async def test_late_responses_make_no_room_in_the_window_a_second_time() -> None:
    requests: list[tuple[bytes, str, tuple[str, int]]] = []
    with every_address() as opened, received(opened, lambda *one: requests.append(one)):
        multiplexer, table = Multiplexer(), SweepTable(V0, socket.AF_INET)
        port = opened.getsockname()[1]
        for number in range(200):
            peer = Peer(HostPort(host(number), port), token(V0))
            table.add(peer, RequestTemplate.of(peer.token, V0, V0.reads))
        sweep = Sweep(table, multiplexer, 3, deadline=inf)
        for now in (1.0, 2.0):  # so the first window is given up
            while sweep._in_flight(now) < 256:
                sweep._send(now)
        while len(requests) < 512:
            await asyncio.sleep(0)
        for datagram, address, client in requests[:256]:
            identifier = Request.decode(datagram).identifier
            send(opened, Response(identifier, Status.DONE).encode(), address, client)
        received_late = 0
        while received_late < 256:
            received_late += sweep._receive(2.0)

        assert sweep._in_flight(2.0) == 256
        multiplexer.close()
