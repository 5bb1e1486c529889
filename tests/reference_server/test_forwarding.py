"""Forwarding by LMTP and SMTP to a scripted next hop in the test's event loop."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from protocol.address import HostPort
from reference_server.admission import Admission
from reference_server.context import ServerContext
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.listener import Listener
from reference_server.pipeline import Pipeline
from reference_server.recipients import relayed_recipients
from reference_server.relay.forwarder import Forwarder
from reference_server.relay.next_hop import NextHop, Protocol
from reference_server.scheduler import Scheduler
from reference_server.service import Service
from reference_server.status import ServerStatus
from reference_server.transform import Bounds, Program, TransformChain
from tests.reference_server.inside import Client, client
from tests.reference_server.relay.hop import Hop, next_hop

START = b"LHLO me.example\r\nMAIL FROM:<a@x.org>\r\n"
TO_BOB = b"RCPT TO:<bob@example.com>\r\n"
TO_EVE = b"RCPT TO:<eve@example.com>\r\n"
CONTENT = b"Subject: hi\r\n\r\n..dot\r\n.\r\n"


@dataclass
class Filter:
    """Server under test: its address, status and listener."""

    port: int
    status: ServerStatus
    listener: Listener
    may_relay: bool = True


@asynccontextmanager
async def forwarding(
    hop: Hop, directory: Path, *programs: str, timeout_s: float = 20, lmtp: bool = True
) -> AsyncIterator[Filter]:
    status, path = ServerStatus(), os.environ["PATH"]
    forwarder = Forwarder(
        NextHop(Protocol.SMTP, HostPort("127.0.0.1", hop.port)), "filter.example", 4, timeout_s
    )
    chain = TransformChain(Bounds(), {"PATH": path}, directory)
    argvs = [Program.parse(program, path) for program in programs]
    pipeline = Pipeline("filter.example", status, forwarder, directory, argvs, chain, 4)
    listening = socket.create_server(("127.0.0.1", 0))
    server = Filter(listening.getsockname()[1], status, Listener(100))

    def service(address: str) -> Service:
        refusal = relayed_recipients(server.may_relay)
        return Service(
            "filter.example",
            refusal,
            pipeline.has_room,
            lmtp=lmtp,
            live=None if lmtp else lambda envelope: forwarder.open(envelope, address),
            xforward=server.may_relay,
        )

    context = ServerContext(
        service=service,
        status=status,
        pipeline=pipeline,
        admission=Admission(ServerLimits()),
        scheduler=Scheduler(),
        session_limits=SessionLimits(),
        limits=ServerLimits(),
    )
    server.listener.listen(listening, context)
    try:
        yield server
    finally:
        await server.listener.stop(0.5)
        await pipeline.aclose()


async def replies(peer: Client, count: int) -> list[str]:
    """The next replies, each its last line."""
    found: list[str] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            line = (await peer.reader.readline()).decode().rstrip()
            assert line, found
            found += [line] if line[3] == " " else []
    return found


async def send(server: Filter, *recipients: bytes, content: bytes = CONTENT) -> list[str]:
    """Sends a message; returns the replies to its content."""
    async with client(server.port) as peer:
        await peer.send(START + b"".join(recipients) + b"DATA\r\n" + content)
        return (await replies(peer, 4 + 2 * len(recipients)))[-len(recipients) :]


async def test_a_message_is_forwarded_with_received_and_the_hops_reply_is_returned(
    tmp_path: Path,
) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path) as server:
        hop.end = [b"250 2.0.0 Ok: queued as X\r\n"]

        assert await send(server, TO_BOB) == ["250 2.0.0 Ok: queued as X"]
        [message] = hop.messages
        assert message.startswith(
            b"Received: from me.example ([127.0.0.1])\r\n\tby filter.example"
        )
        assert message.endswith(b"\r\nSubject: hi\r\n\r\n..dot\r\n.\r\n")
        assert b"Return-Path" not in message
        assert (server.status.connections, server.status.mails) == (1, 1)


async def test_each_recipient_gets_the_hops_reply(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path) as server:
        hop.rcpt = lambda line: b"550 5.1.1 no eve\r\n" if b"eve" in line else b"250 Ok\r\n"

        assert await send(server, TO_EVE, TO_BOB) == ["550 5.1.1 no eve", "250 2.0.0 Ok"]
        assert server.status.mails == 1


async def test_a_message_that_the_hop_rejects_is_not_counted(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path) as server:
        hop.end = [b"554 5.7.1 spam\r\n"]

        assert await send(server, TO_BOB, TO_EVE) == ["554 5.7.1 spam"] * 2
        assert server.status.mails == 0


async def test_an_unreachable_or_silent_hop_is_451(tmp_path: Path) -> None:
    async with next_hop() as hop:
        pass
    async with forwarding(hop, tmp_path) as server:
        assert (
            await send(server, TO_BOB, TO_EVE)
            == ["451 4.4.1 Next hop unavailable, try again later"] * 2
        )
    async with next_hop() as hop, forwarding(hop, tmp_path, timeout_s=0.1) as server:
        hop.hold = asyncio.Event()
        assert (await send(server, TO_BOB))[0].startswith("451 4.4.1")
        hop.hold.set()


async def test_the_output_of_transforms_is_forwarded(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path, "sed s/dot/DOT/") as server:
        await send(server, TO_BOB)
        server.status.transforms_enabled = False
        await send(server, TO_BOB)

        assert [b"..DOT" in message for message in hop.messages] == [True, False]


async def test_a_bare_cr_from_a_transform_is_never_forwarded(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path, r"sed 's/dot/\r.\r/'") as server:
        assert (await send(server, TO_BOB))[0].startswith("451 4.3.0")
        assert hop.messages == []


async def test_transforms_and_the_hop_receive_the_original_client(tmp_path: Path) -> None:
    show = "sh -c 'cat; echo $CLIENT_ADDRESS $CLIENT_HELO'"
    async with next_hop() as hop, forwarding(hop, tmp_path, show) as server:
        hop.extensions = ("PIPELINING", "XFORWARD NAME ADDR HELO")
        async with client(server.port) as peer:
            hello, mail = START.splitlines(keepends=True)
            xforward = b"XFORWARD ADDR=192.0.2.7 HELO=true.example\r\n"
            await peer.send(hello + xforward + mail + TO_BOB + b"DATA\r\n" + CONTENT)
            await replies(peer, 7)
        await send(server, TO_BOB)

        assert b"192.0.2.7 true.example\r\n" in hop.messages[0]
        assert b"127.0.0.1 me.example\r\n" in hop.messages[1]
        assert hop.commands == [
            b"XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7\r\n",
            b"XFORWARD HELO=true.example\r\n",
            b"MAIL FROM:<a@x.org>\r\n",
            b"XFORWARD NAME=[UNAVAILABLE] ADDR=127.0.0.1\r\n",
            b"XFORWARD HELO=me.example\r\n",
            b"MAIL FROM:<a@x.org>\r\n",
        ]


async def test_a_message_that_the_hop_does_not_support_is_rejected_and_never_converted(
    tmp_path: Path,
) -> None:
    eight_bit = b"Subject: hi\r\n\r\n\xc3\xbc\r\n.\r\n"
    async with next_hop() as hop, forwarding(hop, tmp_path) as server:
        assert (await send(server, TO_BOB, content=eight_bit))[0].startswith("554 5.6.3")
        hop.extensions = ("PIPELINING", "8BITMIME", "SIZE 2000")
        hop_again = await send(server, TO_BOB, content=eight_bit)
        assert hop_again[0].startswith("554 5.6.3")  # the kept connection still offers the same
    async with next_hop() as hop, forwarding(hop, tmp_path) as server:
        hop.extensions = ("PIPELINING", "8BITMIME", "SIZE 2000")
        assert await send(server, TO_BOB, content=eight_bit) == ["250 2.0.0 Ok"]
        assert hop.commands[-1].endswith(b" BODY=8BITMIME\r\n")
        large = b"Subject: hi\r\n\r\n" + b"x\r\n" * 1000 + b".\r\n"
        assert (await send(server, TO_BOB, content=large))[0].startswith("552 5.3.4")


async def test_a_message_in_a_loop_is_rejected(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path) as server:
        field = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"

        assert await send(server, TO_BOB, content=field * 50 + CONTENT) == ["250 2.0.0 Ok"]
        assert await send(server, TO_BOB, content=field * 51 + CONTENT) == [
            "554 5.4.6 Too many hops"
        ]
        assert len(hop.messages) == 1


async def test_a_client_that_may_not_relay_gets_550_for_every_recipient(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path) as server:
        server.may_relay = False
        async with client(server.port) as peer:
            await peer.send(START + TO_BOB + b"RCPT TO:<postmaster>\r\nDATA\r\n")
            found = await replies(peer, 6)

        assert [reply[:9] for reply in found[3:]] == ["550 5.7.1", "550 5.7.1", "554 5.5.1"]
        assert hop.connections == 0


async def test_a_large_message_is_forwarded_unchanged(tmp_path: Path) -> None:
    content = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 50_000
    async with next_hop() as hop, forwarding(hop, tmp_path, "cat") as server:
        assert await send(server, TO_BOB, content=content + b".\r\n") == ["250 2.0.0 Ok"]
        server.status.transforms_enabled = False
        assert await send(server, TO_BOB, content=content + b".\r\n") == ["250 2.0.0 Ok"]

        for message in hop.messages:
            received, found, rest = message.partition(b"Subject: large\r\n")
            assert received.startswith(b"Received: from me.example ")
            assert found + rest == content + b".\r\n"


async def test_at_shutdown_messages_without_a_reply_of_the_hop_are_abandoned(
    tmp_path: Path,
) -> None:
    async with next_hop() as hop:
        hop.hold = asyncio.Event()
        async with forwarding(hop, tmp_path) as server:
            sending = asyncio.create_task(send(server, TO_BOB))
            async with asyncio.timeout(5):
                while not hop.messages:
                    await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            await server.listener.stop(0.1)
            assert asyncio.get_running_loop().time() - began < 2
            assert (await sending)[0].startswith("451 4.4.1")
        hop.hold.set()


SMTP_START = b"EHLO me.example\r\nMAIL FROM:<a@x.org>\r\n"


async def test_smtp_recipients_get_the_hops_reply_before_the_content(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path, lmtp=False) as server:
        hop.rcpt = lambda line: b"550 5.1.1 no eve\r\n" if b"eve" in line else b"250 2.1.5 Ok\r\n"
        async with client(server.port) as peer:
            await peer.send(SMTP_START + TO_EVE + TO_BOB + TO_BOB)
            assert (await replies(peer, 6))[3:] == [
                "550 5.1.1 no eve",
                "250 2.1.5 Ok",
                "250 2.1.5 Ok",
            ]
            assert hop.messages == []
            await peer.send(b"DATA\r\n" + CONTENT + b"MAIL FROM:<a@x.org>\r\n" + TO_BOB)
            assert (await replies(peer, 4))[1:] == [
                "250 2.0.0 Ok",
                "250 2.1.0 Ok",
                "250 2.1.5 Ok",
            ]
            await peer.send(b"DATA\r\n" + CONTENT + b"QUIT\r\n")
            assert (await replies(peer, 3))[1:] == ["250 2.0.0 Ok", "221 2.0.0 Bye"]

        assert len(hop.messages) == 2
        assert hop.messages[0].startswith(b"Received: from me.example ([127.0.0.1])\r\n")
        assert hop.connections == 1


async def test_smtp_messages_that_end_early_release_the_connection(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path, lmtp=False) as server:
        for ending in (b"RSET\r\n", b"EHLO again\r\n", b"QUIT\r\n", b""):
            for _ in range(3):  # there are four connections to the hop
                async with client(server.port) as peer:
                    await peer.send(SMTP_START + TO_BOB + ending)
                    await replies(peer, 4 + bool(ending))
        async with client(server.port) as peer:
            await peer.send(SMTP_START + TO_BOB + b"DATA\r\nSubject: broken off")
            await replies(peer, 5)
        async with client(server.port) as peer:
            await peer.send(SMTP_START + TO_BOB + b"DATA\r\n" + CONTENT)
            assert (await replies(peer, 6))[-1] == "250 2.0.0 Ok"

        assert len(hop.messages) == 1


async def test_smtp_without_a_hop_is_451_for_each_recipient(tmp_path: Path) -> None:
    async with next_hop() as hop:
        pass
    async with forwarding(hop, tmp_path, lmtp=False) as server, client(server.port) as peer:
        await peer.send(SMTP_START + TO_BOB + TO_EVE + b"DATA\r\n")
        found = await replies(peer, 6)

    assert [reply[:9] for reply in found[3:]] == ["451 4.4.1", "451 4.4.1", "554 5.5.1"]


async def test_smtp_content_that_the_hop_does_not_support_is_rejected(tmp_path: Path) -> None:
    eight_bit = b"Subject: hi\r\n\r\n\xc3\xbc\r\n.\r\n"
    async with next_hop() as hop, forwarding(hop, tmp_path, lmtp=False) as server:
        async with client(server.port) as peer:
            await peer.send(SMTP_START + TO_BOB + b"DATA\r\n" + eight_bit)
            assert (await replies(peer, 6))[-1].startswith("554 5.6.3")
            await peer.send(b"MAIL FROM:<>\r\n" + TO_BOB + b"DATA\r\n" + CONTENT)
            assert (await replies(peer, 4))[-1] == "250 2.0.0 Ok"


async def test_smtp_clients_that_may_not_relay_never_reach_the_hop(tmp_path: Path) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path, lmtp=False) as server:
        server.may_relay = False
        async with client(server.port) as peer:
            await peer.send(SMTP_START + TO_BOB)
            assert (await replies(peer, 4))[-1].startswith("550 5.7.1")

        assert hop.connections == 0


async def test_at_shutdown_recipients_without_a_reply_of_the_hop_are_answered(
    tmp_path: Path,
) -> None:
    async with next_hop() as hop, forwarding(hop, tmp_path, lmtp=False) as server:
        hop.rcpt = lambda line: b""
        async with client(server.port) as peer:
            await peer.send(SMTP_START + TO_BOB)
            await replies(peer, 3)
            async with asyncio.timeout(5):
                while not hop.commands:
                    await asyncio.sleep(0.01)
            stopping = asyncio.create_task(server.listener.stop(0.1))
            assert (await replies(peer, 1))[0].startswith(("451 4.4.1", "421 4.3.2"))
            await stopping
