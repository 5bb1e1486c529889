"""Simultaneous queries of single servers, over real sockets."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from protocol import reader as reader_module
from protocol.address import HostPort
from protocol.client import Peer, Reading
from protocol.dialect import Dialect, Field
from protocol.dialects import V0
from protocol.errors import (
    DiscardReason,
    FailureReason,
    InternalError,
    NoAnswer,
    Resource,
    Shortage,
)
from protocol.fleet_tables import FleetTables
from protocol.message import Response, Value
from protocol.multiplexer import Multiplexer
from protocol.reader import Reader
from protocol.server import respond, serve
from protocol.sockets import Sockets
from protocol.token import Token
from protocol.vocabulary import Command, Status
from tests.support.udp import Source, udp_socket

TOKEN = Token.parse("secretpa")
ANONYMOUS_ERRORS = (replace(V0, identifier_echo="good"), replace(V0, zeroed_errors=True))


def answer(command: Command) -> Value:
    return True if command is Command.TRANSFORMS else 3


async def read(
    line: Reader, port: int, seconds: float = 5, host: str = "127.0.0.1", dialect: Dialect = V0
) -> Reading:
    return await line.read(Peer(HostPort(host, port), TOKEN, dialect), timeout=seconds)


@asynccontextmanager
async def listing(sources: list[Source]) -> AsyncIterator[int]:
    """Serves valid responses and records the clients' addresses; yields its port."""

    def handle(datagram: bytes, source: Source) -> list[tuple[bytes, Source]]:
        sources.append(source)
        response = respond(datagram, TOKEN, answer)
        return [(response.encode(), source)] if response else []

    async with udp_socket(handle) as opened:
        yield opened.getsockname()[1]


async def test_simultaneous_queries_share_one_port_without_confusion() -> None:
    line, sources = Reader(), list[Source]()
    async with listing(sources) as port, listing(sources) as other:
        readings = await asyncio.gather(*(read(line, where) for where in [port, other] * 20))

    assert [reading[Command.CONNECTIONS] for reading in readings] == [3] * 40
    assert [reading.cost.datagrams_sent for reading in readings] == [4] * 40
    assert len(sources) == 160
    assert len(set(sources)) == 1


async def test_closing_a_reader_cancels_queries_in_progress_and_closes_their_sockets() -> None:
    sources: list[Source] = []

    def ignore(datagram: bytes, source: Source) -> list[tuple[bytes, Source]]:
        sources.append(source)
        return []

    async with udp_socket(ignore) as silent, asyncio.timeout(10):
        line = Reader(lifetime=60)
        reading = asyncio.create_task(read(line, silent.getsockname()[1], seconds=60))
        while not sources:
            await asyncio.sleep(0)
        line.close()
        with pytest.raises(asyncio.CancelledError):
            await reading
        while line._carrying:
            await asyncio.sleep(0)


async def test_more_silent_targets_than_fit_the_window_are_all_queried() -> None:
    async with udp_socket(lambda datagram, source: []) as silent:
        line = Reader()
        port = silent.getsockname()[1]
        readings = await asyncio.gather(*[read(line, port, seconds=0.5) for _ in range(150)])
        line.close()

    assert {type(reading.error) for reading in readings} == {NoAnswer}
    assert min(reading.cost.datagrams_sent for reading in readings) >= len(V0.reads)


async def test_a_silent_target_is_retried_and_ends_although_the_others_have_answered() -> None:
    async with (
        udp_socket(lambda datagram, source: []) as silent,
        serve("127.0.0.1", 0, TOKEN, answer) as endpoint,
        asyncio.timeout(10),
    ):
        line = Reader()
        ports = [silent.getsockname()[1], *[endpoint.port] * 20]
        first, *others = await asyncio.gather(*[read(line, port, seconds=1) for port in ports])
        line.close()

    assert first.cost.datagrams_sent == 3 * len(V0.reads)
    assert [reading.error for reading in others] == [None] * 20


async def test_later_queries_use_another_port() -> None:
    line, sources = Reader(lifetime=0.01), list[Source]()
    async with listing(sources) as port, asyncio.timeout(5):
        while len(set(sources)) < 2:
            assert (await read(line, port))[Command.CONNECTIONS] == 3


async def test_each_query_has_its_own_deadline() -> None:
    line = Reader()
    async with serve("127.0.0.1", 0, TOKEN, answer) as good, udp_socket(lambda *_: []) as silent:
        port = silent.getsockname()[1]
        patient = asyncio.create_task(read(line, port, 60))
        loop = asyncio.get_running_loop()
        began = loop.time()
        hasty = await read(line, port, 0.1)
        took = loop.time() - began
        answered = await read(line, good.port, 60)
        patient.cancel()
        await asyncio.wait([patient])

    assert hasty.error
    assert hasty.error.reason is FailureReason.TIMEOUT
    assert 0.1 <= took < 5
    assert answered.error is None
    assert patient.cancelled()


async def test_a_cancelled_query_sends_nothing_more_and_others_are_answered() -> None:
    received: list[bytes] = []

    def handle(datagram: bytes, source: Source) -> list[tuple[bytes, Source]]:
        received.append(datagram)
        return []

    line = Reader()
    async with serve("127.0.0.1", 0, TOKEN, answer) as good, udp_socket(handle) as silent:
        given_up = asyncio.create_task(read(line, silent.getsockname()[1], 60))
        async with asyncio.timeout(5):
            while len(received) < 4:
                await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert (await read(line, good.port)).error is None
        # It would have been retried by then.
        assert (await read(line, silent.getsockname()[1], 0.6)).error

    assert [received.count(datagram) for datagram in received[:4]] == [1] * 4
    assert received.count(received[4]) > 1


async def test_a_closed_port_and_an_unknown_name_are_reported_immediately() -> None:
    line = Reader()
    async with udp_socket(lambda *_: []) as unused:
        closed = unused.getsockname()[1]
    refused, unknown = await asyncio.gather(
        read(line, closed, 60), read(line, 7030, 60, "no-such-host.invalid")
    )

    assert refused.error
    assert unknown.error
    assert (refused.error.reason, unknown.error.reason) == (
        FailureReason.UNREACHABLE,
        FailureReason.NAME,
    )
    assert refused.cost.retransmissions == 0


async def test_a_stray_datagram_is_counted_once() -> None:
    line = Reader()
    async with udp_socket(lambda *_: []) as other:

        def handle(datagram: bytes, source: Source) -> list[tuple[bytes, Source]]:
            other.sendto(b"from elsewhere", source)
            response = respond(datagram, TOKEN, answer)
            return [(response.encode(), source)] if response else []

        async with udp_socket(handle) as server:
            reading = await read(line, server.getsockname()[1])

    assert reading.error is None
    assert 3 <= line.take_strays()[DiscardReason.SOURCE] <= 4
    assert line.take_strays() == {}


async def test_dialects_without_identifiers_use_a_socket_per_target() -> None:
    dialect = replace(V0, identifier_echo="never")
    async with serve("127.0.0.1", 0, TOKEN, answer, dialect) as endpoint:
        line = Reader()
        readings = await asyncio.gather(
            *(read(line, endpoint.port, dialect=dialect) for _ in range(5))
        )

    assert [reading[Command.CONNECTIONS] for reading in readings] == [3] * 5


@pytest.mark.parametrize("dialect", ANONYMOUS_ERRORS)
async def test_an_error_without_an_identifier_is_not_attributed_to_another_query(
    dialect: Dialect,
) -> None:
    line = Reader()
    async with serve("127.0.0.1", 0, TOKEN, answer, dialect) as endpoint:
        where = HostPort("127.0.0.1", endpoint.port)
        wrong, right = (Peer(where, token, dialect) for token in (Token.parse("mistaken"), TOKEN))
        refused, answered = await asyncio.gather(
            line.read(wrong, timeout=5), line.read(right, timeout=5)
        )

    assert refused.error
    assert refused.error.reason is FailureReason.AUTHENTICATION
    assert answered.error is None


@pytest.mark.parametrize("dialect", ANONYMOUS_ERRORS)
@pytest.mark.parametrize("order", [1, -1])
async def test_an_error_without_an_identifier_is_never_one_of_a_dialect_that_has_identifiers(
    dialect: Dialect, order: int
) -> None:
    def deny(datagram: bytes, source: Source) -> list[tuple[bytes, Source]]:
        denied = Response(None, Status.AUTHENTICATION_FAILED).encode(dialect)
        return [(denied, source)] if b"mistaken" in datagram else []

    async with udp_socket(deny) as opened:
        where, reader = HostPort(*opened.getsockname()), Reader()
        peers = [Peer(where, Token(b"mistaken"), dialect), Peer(where, TOKEN)][::order]
        found = await asyncio.gather(*[reader.read(one, timeout=0.2) for one in peers])

    assert [one.error and one.error.reason for one in found] == [
        FailureReason.AUTHENTICATION,
        FailureReason.TIMEOUT,
    ][::order]


async def test_identifiers_of_one_byte_are_never_used_up() -> None:
    one = Field(3, 1)
    dialect = replace(
        V0, request_identifier=one, response_identifier=one, authentication=Field(4, 8)
    )
    line = Reader(lifetime=60)
    async with serve("127.0.0.1", 0, TOKEN, answer, dialect) as endpoint:
        readings = [await read(line, endpoint.port, dialect=dialect) for _ in range(100)]

    assert [reading.error for reading in readings] == [None] * 100


def multiplexers() -> list[Multiplexer]:
    return [one for one in gc.get_objects() if isinstance(one, Multiplexer)]


async def test_unused_sockets_leave_no_reference_cycles() -> None:
    line = Reader(lifetime=0)
    gc.collect()
    gc.disable()
    others = multiplexers()  # of earlier tests in this process
    try:
        async with serve("127.0.0.1", 0, TOKEN, answer) as endpoint:
            for _ in range(10):
                assert (await read(line, endpoint.port)).error is None
            async with asyncio.timeout(30):
                while len(multiplexers()) > len(others):
                    await asyncio.sleep(0)
    finally:
        gc.enable()


async def test_a_duplicate_response_after_the_reading_is_counted() -> None:
    seconds: list[tuple[bytes, Source]] = []

    def handle(datagram: bytes, source: Source) -> list[tuple[bytes, Source]]:
        response = respond(datagram, TOKEN, answer)
        assert response
        seconds.append((response.encode(), source))
        return [(response.encode(), source)]

    line = Reader()
    async with udp_socket(handle) as server:
        reading = await read(line, server.getsockname()[1])
        for datagram, source in seconds:
            server.sendto(datagram, source)
        late: Counter[DiscardReason] = Counter()
        async with asyncio.timeout(5):
            while late.total() < 4:
                await asyncio.sleep(0)
                late.update(line.take_strays())

    assert reading.cost.discarded == {}
    assert late == {DiscardReason.IDENTIFIER: 4}


class BrokenStatuses(dict[int, Status]):
    """Dialect whose responses cannot be decoded because of a defect."""

    def get(self, *_: object) -> Status:
        raise RuntimeError("a defect")


async def test_a_defect_in_reading_one_target_fails_no_other() -> None:
    async with serve("127.0.0.1", 0, TOKEN, answer) as endpoint:
        dialect = replace(V0, statuses=BrokenStatuses(V0.statuses))
        where = HostPort("127.0.0.1", endpoint.port)
        peers = [Peer(where, TOKEN, dialect), Peer(where, TOKEN)]
        line = Reader()
        apart = await asyncio.gather(*(line.read(one, timeout=5) for one in peers))
        together = await line.read_all(peers, timeout=5)

    for broken, good in (apart, together):
        assert isinstance(broken.error, InternalError)
        assert good.error is None


async def test_a_defect_of_the_multiplexer_is_raised_and_the_next_query_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    async with serve("127.0.0.1", 0, TOKEN, answer) as endpoint:
        line = Reader()
        with monkeypatch.context() as patch:
            patch.setattr(Sockets, "transfer", fail)
            results = await asyncio.gather(
                *(read(line, endpoint.port, 60) for _ in range(2)), return_exceptions=True
            )

        assert [str(result) for result in results] == ["a defect"] * 2
        assert (await read(line, endpoint.port)).error is None


async def test_a_cancelled_query_does_not_keep_a_shortage_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = Reader()
    async with udp_socket(lambda *_: []) as silent, asyncio.timeout(5):
        port = silent.getsockname()[1]
        queries = [asyncio.create_task(read(line, port, 60)) for _ in range(5)]

        def fail(*_: object) -> None:
            queries[0].cancel()
            queries[3].cancel()
            raise Shortage(Resource.MEMORY, "no memory")

        monkeypatch.setattr(Sockets, "transfer", fail)
        results = await asyncio.gather(*queries, return_exceptions=True)

    kinds = [asyncio.CancelledError if number in (0, 3) else Shortage for number in range(5)]
    assert list(map(type, results)) == kinds


async def test_a_query_that_ends_before_a_defect_has_its_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(multiplexer: Multiplexer, *_: object, **__: object) -> None:
        if any(query.done for query in multiplexer._ended):
            raise RuntimeError("a defect")

    line = Reader()
    async with serve("127.0.0.1", 0, TOKEN, answer) as endpoint, asyncio.timeout(5):
        with monkeypatch.context() as patch:
            patch.setattr(Multiplexer, "_expire", fail)
            reading = await read(line, endpoint.port, 60)

    assert reading[Command.CONNECTIONS] == 3


async def test_request_templates_of_former_dialects_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_module, "_MAX_TEMPLATES", 10)
    line = Reader()
    async with serve("127.0.0.1", 0, TOKEN, answer) as endpoint:
        for number in range(25):  # a reload makes new dialects
            reading = await read(line, endpoint.port, dialect=replace(V0, name=f"own-{number}"))
            assert reading.error is None

    assert len(line._templates) <= 10


async def test_a_query_without_a_socket_until_its_deadline_reports_a_shortage() -> None:
    dialect = replace(V0, identifier_echo="never")
    line = Reader()
    async with udp_socket(lambda *_: []) as silent, asyncio.timeout(5):
        port = silent.getsockname()[1]
        patient = [
            asyncio.create_task(read(line, port, 60, dialect=dialect))
            for _ in range(line._most_alone)
        ]
        while not line._alone.locked():
            await asyncio.sleep(0)
        began = monotonic()
        with pytest.raises(Shortage, match=f"{line._most_alone} servers are silent"):
            await read(line, port, 0.1, dialect=dialect)
        waited = monotonic() - began
        for task in patient:
            task.cancel()
        await asyncio.gather(*patient, return_exceptions=True)

    assert waited >= 0.1
    assert not line._alone.locked()


async def test_the_deadline_of_a_fleet_includes_its_preparation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare = FleetTables.of

    async def slowly(*arguments: Any) -> FleetTables:
        await asyncio.sleep(0.4)
        return await prepare(*arguments)

    monkeypatch.setattr(FleetTables, "of", slowly)
    async with udp_socket(lambda *_: []) as silent:
        where = HostPort("127.0.0.1", silent.getsockname()[1])
        readings = await Reader().read_all([Peer(where, TOKEN)] * 2, timeout=0.5)

    assert max(reading.seconds for reading in readings) < 0.3
