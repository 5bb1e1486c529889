"""Connection pool to a scripted next hop, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from protocol.address import HostPort
from reference_server.address import Address
from reference_server.relay import pool as pool_module
from reference_server.relay.content import InvalidContent, Measure
from reference_server.relay.events import Finished, Lost
from reference_server.relay.next_hop import NextHop, Protocol
from reference_server.relay.pool import ConnectionPool
from reference_server.relay.transaction import Transaction
from tests.reference_server.relay.hop import Hop, next_hop

BOB, EVE = Address("bob", "example.com"), Address("eve", "example.com")
MESSAGE = Transaction(Address("a", "x.org"), (BOB,), Measure(10))
TWO = Transaction(Address("a", "x.org"), (BOB, EVE), Measure(10))


@asynccontextmanager
async def pool_to(hop: Hop, size: int = 4) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(
        NextHop(Protocol.SMTP, HostPort("127.0.0.1", hop.port)), "me.example", size
    )
    yield pool
    await pool.close()


async def content(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks or (b"Subject: x\n\nhello\n",):
        yield block


async def test_messages_share_a_connection_that_is_ended_with_quit() -> None:
    async with next_hop() as hop:
        async with pool_to(hop) as pool:
            for _ in range(3):
                result = await pool.send(MESSAGE, content(b"Subject: x\n\n", b".\n"))
                assert isinstance(result, Finished)
                assert [reply.code for reply in result.replies] == [250]
            assert hop.connections == 1
        assert hop.messages == [b"Subject: x\r\n\r\n..\r\n.\r\n"] * 3


async def test_more_messages_than_connections_wait_for_one() -> None:
    async with next_hop() as hop, pool_to(hop, size=2) as pool:
        results = await asyncio.gather(*(pool.send(MESSAGE, content()) for _ in range(20)))

        assert all(isinstance(result, Finished) for result in results)
        assert (hop.connections, hop.most_open) == (2, 2)


async def test_a_kept_connection_that_the_hop_has_closed_is_replaced_and_nothing_is_lost() -> None:
    async with next_hop() as hop, pool_to(hop) as pool:
        hop.closes_after = 1
        for _ in range(5):
            result = await pool.send(MESSAGE, content())
            assert isinstance(result, Finished)

        assert hop.connections == 5
        assert len(hop.messages) == 5


async def test_a_connection_is_used_for_100_messages() -> None:
    async with next_hop() as hop, pool_to(hop, size=1) as pool:
        for _ in range(101):
            assert isinstance(await pool.send(MESSAGE, content()), Finished)
            if len(hop.messages) == 100:
                assert hop.connections == 1

        assert hop.connections == 2


async def test_a_connection_without_messages_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_S", 0.01)
    async with next_hop() as hop, pool_to(hop) as pool:
        await pool.send(MESSAGE, content())
        async with asyncio.timeout(5):
            while hop.open:
                await asyncio.sleep(0.005)
        await pool.send(MESSAGE, content())

        assert hop.connections == 2


async def test_an_unreachable_hop_is_unavailable() -> None:
    async with next_hop() as hop:
        pass
    async with pool_to(hop) as pool:
        result = await pool.send(TWO, content())

    assert isinstance(result, Lost)
    assert result.reason == f"cannot connect to 127.0.0.1:{hop.port}: Connection refused"
    assert [(reply.code, reply.status) for reply in result.replies] == [(451, "4.4.1")] * 2


async def test_a_hop_is_reached_by_its_name_and_an_unknown_name_is_unavailable() -> None:
    async with next_hop() as hop:
        for host, expected in (("localhost", Finished), ("hop.invalid", Lost)):
            pool = ConnectionPool(NextHop(Protocol.SMTP, HostPort(host, hop.port)), "me", 1)
            assert isinstance(await pool.send(MESSAGE, content()), expected)
            await pool.close()


async def test_a_missing_unix_socket_is_unavailable(tmp_path: Path) -> None:
    hop = NextHop(Protocol.LMTP, tmp_path / "no" / "socket")

    result = await ConnectionPool(hop, "me.example", 1).send(MESSAGE, content())

    assert isinstance(result, Lost)


async def test_a_hop_that_rejects_the_session_is_unavailable_with_its_reason() -> None:
    async with next_hop() as hop, pool_to(hop) as pool:
        hop.greeting = b"554 5.7.1 go away\r\n"

        result = await pool.send(MESSAGE, content())

        assert isinstance(result, Lost)
        assert "554 5.7.1 go away" in result.reason
        assert result.replies[0].code == 451


async def test_a_hop_that_never_greets_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_CONNECT_S", 0.05)
    async with next_hop() as hop, pool_to(hop) as pool:
        hop.greeting = b""

        result = await pool.send(MESSAGE, content())

        assert isinstance(result, Lost)
        assert result.reason == "connection timed out"


async def test_a_connection_lost_after_the_final_dot_is_not_tried_again() -> None:
    async with next_hop() as hop, pool_to(hop) as pool:
        hop.end = [b"250 2.0.0 Ok\r\n", b""]
        hop.closes_after = 2
        await pool.send(MESSAGE, content())

        result = await pool.send(MESSAGE, content())

        assert isinstance(result, Lost)
        assert result.content_sent
        assert result.replies[0].code == 451
        assert len(hop.messages) == 2


async def test_recipients_get_the_replies_of_the_hop() -> None:
    async with next_hop() as hop, pool_to(hop) as pool:
        hop.rcpt = lambda line: b"550 5.1.1 no eve\r\n" if b"eve" in line else b"250 Ok\r\n"

        result = await pool.send(TWO, content())

        assert isinstance(result, Finished)
        assert [reply.code for reply in result.replies] == [250, 550]


async def test_invalid_content_raises_and_the_message_is_discarded() -> None:
    async with next_hop() as hop, pool_to(hop) as pool:
        with pytest.raises(InvalidContent):
            await pool.send(MESSAGE, content(b"Subject: x\n\n", b"a\rb\n"))

        assert hop.messages == []
        assert isinstance(await pool.send(MESSAGE, content()), Finished)


async def test_a_cancelled_message_is_discarded_and_frees_its_connection() -> None:
    async with next_hop() as hop, pool_to(hop, size=1) as pool:
        hop.hold = asyncio.Event()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await pool.send(MESSAGE, content())
        hop.hold = None

        assert isinstance(await pool.send(MESSAGE, content()), Finished)


async def test_large_content_is_sent_whole() -> None:
    blocks = [(b"x" * 50 + b"\n") * 1000] * 100
    async with next_hop() as hop, pool_to(hop) as pool:
        result = await pool.send(MESSAGE, content(*blocks))

        assert isinstance(result, Finished)
        assert hop.messages == [(b"x" * 50 + b"\r\n") * 100_000 + b".\r\n"]


async def test_a_hop_that_closes_during_the_content_gets_no_more_of_it() -> None:
    read = 0

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 100_000 + b"\n"

    async with next_hop() as hop, pool_to(hop) as pool:
        hop.takes_content = False

        result = await pool.send(MESSAGE, blocks())

        assert isinstance(result, Lost)
        assert not result.content_sent
        assert read < 1000
