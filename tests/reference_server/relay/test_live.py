"""Recipients answered by the next hop one by one, over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from protocol.address import HostPort
from reference_server.address import Address
from reference_server.relay.content import Measure
from reference_server.relay.events import Finished, Lost
from reference_server.relay.live import LiveTransaction
from reference_server.relay.next_hop import NextHop, Protocol
from reference_server.relay.pool import ConnectionPool
from reference_server.relay.transaction import Transaction
from tests.reference_server.relay.hop import Hop, next_hop

BOB, EVE = Address("bob", "example.com"), Address("eve", "example.com")
UTF8 = Address("grüße", "example.com")
SENDER = Address("a", "x.org")


def pool_to(hop: Hop) -> ConnectionPool:
    return ConnectionPool(NextHop(Protocol.SMTP, HostPort("127.0.0.1", hop.port)), "me", 2)


def opened(pool: ConnectionPool, *, smtputf8: bool = False) -> LiveTransaction:
    return LiveTransaction(pool, Transaction(SENDER, (), None, smtputf8))


async def content() -> AsyncIterator[bytes]:
    yield b"Subject: x\n\nhello\n"


async def test_recipients_are_answered_before_the_content_is_sent() -> None:
    async with next_hop() as hop:
        hop.extensions = ("PIPELINING", "8BITMIME", "SIZE 1000")
        hop.rcpt = lambda line: b"550 5.1.1 no eve\r\n" if b"eve" in line else b"250 Ok\r\n"
        pool = pool_to(hop)
        live = opened(pool)

        assert (await live.add(EVE)).code == 550
        assert (await live.add(BOB)).code == 250
        assert hop.messages == []
        assert hop.commands == [b"MAIL FROM:<a@x.org> BODY=8BITMIME\r\n"]
        result = await live.send((BOB,), Measure(20), content())

        assert isinstance(result, Finished)
        assert [reply.code for reply in result.replies] == [250]
        assert len(hop.messages) == 1
        await pool.close()
        assert hop.connections == 1


async def test_a_rejected_sender_is_the_reply_to_every_recipient() -> None:
    async with next_hop() as hop:
        hop.mail = b"550 5.7.1 not you\r\n"
        pool = pool_to(hop)
        live = opened(pool)

        assert [(await live.add(to)).text for to in (BOB, EVE)] == ["not you", "not you"]
        assert len(hop.commands) == 1
        live.abandon()
        hop.mail = b"250 Ok\r\n"
        again = opened(pool)
        assert (await again.add(BOB)).code == 250
        assert hop.connections == 1
        again.abandon()
        await pool.close()


@pytest.mark.parametrize("goodbye", [b"421 4.3.2 Shutting down\r\n", b"250 2.0.0 unasked\r\n"])
async def test_a_session_that_ends_with_the_reply_to_a_recipient_fails_the_message(
    goodbye: bytes,
) -> None:
    async with next_hop() as hop:
        hop.rcpt = lambda line: b"250 Ok\r\n" + goodbye
        pool = pool_to(hop)
        live = opened(pool)
        assert (await live.add(BOB)).code == 250
        async with asyncio.timeout(10):
            result = await live.send((BOB,), Measure(20), content())

        assert isinstance(result, Lost)
        assert [reply.code for reply in result.replies] == [451]
        again = opened(pool)
        assert (await again.add(BOB)).code == 250  # by another connection
        again.abandon()
        await pool.close()
        assert hop.connections == 2


async def test_further_recipients_of_a_session_that_has_ended_are_answered() -> None:
    async with next_hop() as hop:
        hop.rcpt = lambda line: b"250 Ok\r\n421 4.3.2 Shutting down\r\n"
        pool = pool_to(hop)
        live = opened(pool)
        async with asyncio.timeout(10):
            assert [(await live.add(to)).code for to in (BOB, EVE)] == [250, 451]
        live.abandon()
        await pool.close()


async def test_a_session_that_ends_with_the_reply_to_ehlo_is_not_used() -> None:
    async with next_hop() as hop:
        hop.goodbye = b"421 4.3.2 Shutting down\r\n"
        pool = pool_to(hop)
        async with asyncio.timeout(10):
            assert (await opened(pool).add(BOB)).code == 451
        assert hop.commands == []
        await pool.close()


async def test_an_abandoned_message_is_reset_before_the_next_one() -> None:
    async with next_hop() as hop:
        pool = pool_to(hop)
        live = opened(pool)
        await live.add(BOB)
        live.abandon()
        live.abandon()

        assert isinstance(
            await pool.send(Transaction(SENDER, (BOB,), Measure()), content()), Finished
        )
        assert hop.resets == 1
        assert hop.connections == 1
        await pool.close()


async def test_a_kept_connection_that_the_hop_has_closed_is_replaced() -> None:
    async with next_hop() as hop:
        hop.closes_after = 1
        pool = pool_to(hop)
        for _ in range(3):
            live = opened(pool)
            assert (await live.add(BOB)).code == 250
            assert isinstance(await live.send((BOB,), Measure(), content()), Finished)

        assert hop.connections == 3
        await pool.close()


async def test_an_unreachable_hop_is_451() -> None:
    async with next_hop() as hop:
        pass
    live = opened(pool_to(hop))

    assert (await live.add(BOB)).code == 451
    assert isinstance(await live.send((BOB,), Measure(), content()), Lost)


async def test_a_message_that_the_hop_does_not_support_is_rejected() -> None:
    async with next_hop() as hop:
        pool = pool_to(hop)
        live = opened(pool, smtputf8=True)
        assert (await live.add(UTF8)).status == "5.6.7"
        assert (await live.add(BOB)).code == 250

        result = await live.send((BOB,), Measure(20, eight_bit=True), content())

        assert isinstance(result, Finished)
        assert result.replies[0].status == "5.6.3"
        assert hop.messages == []
        assert isinstance(
            await pool.send(Transaction(SENDER, (BOB,), Measure()), content()), Finished
        )
        await pool.close()


async def test_a_cancelled_recipient_frees_the_connection() -> None:
    async with next_hop() as hop:
        hop.rcpt = lambda line: b""
        pool = pool_to(hop)
        for _ in range(3):  # more than there are connections
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await opened(pool).add(BOB)
        hop.rcpt = lambda line: b"250 Ok\r\n"

        live = opened(pool)
        assert (await live.add(BOB)).code == 250
        live.abandon()
        await pool.close()
