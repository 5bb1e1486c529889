"""Sessions on real sockets: their counters and their ends."""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from reference_server.connection import Connection
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.transform import Bounds
from tests.reference_server.inside import (
    ENVELOPE,
    MAIL,
    Client,
    Inside,
    client,
    mail_server,
    until,
)


async def polite(c: Client) -> None:
    await c.send(b"EHLO me\r\nQUIT\r\n")
    await c.rest()


async def with_mail(c: Client) -> None:
    await c.send(MAIL + b"QUIT\r\nNOOP\r\nNOOP\r\n")
    await c.rest()


async def in_small_pieces(c: Client) -> None:
    for start in range(0, len(MAIL), 7):
        await c.send(MAIL[start : start + 7])
    await c.send(b"QUIT\r\n")
    await c.rest()


async def half_closed(c: Client) -> None:
    await c.send(MAIL)
    c.writer.write_eof()
    await c.rest()


async def gone_in_data(c: Client) -> None:
    await c.send(ENVELOPE + b"half a li")
    c.writer.write_eof()
    await c.rest()


async def babbling(c: Client) -> None:
    await c.send(b"\x00\xff\r\n" * 30)
    await c.rest()


async def mute(c: Client) -> None:
    c.writer.write_eof()
    await c.rest()


KINDS = [polite, with_mail, in_small_pieces, half_closed, gone_in_data, babbling, mute]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_received_and_sent_bytes_are_those_of_the_client(
    kind: Callable[[Client], Awaitable[None]], tmp_path: Path
) -> None:
    async with mail_server(tmp_path) as inside:
        async with client(inside.port) as c:
            await kind(c)
        await until(lambda: inside.status.active_connections == 0)

        assert (inside.status.received_bytes, inside.status.sent_bytes) == (c.sent, c.received)
        assert inside.status.connections == 1


async def test_connections_are_active_until_closed_and_counted_forever(
    tmp_path: Path,
) -> None:
    async with mail_server(tmp_path) as inside:
        async with client(inside.port) as one, client(inside.port) as other:
            await one.code()
            await other.code()
            assert (inside.status.connections, inside.status.active_connections) == (2, 2)
            one.reset()
            await until(lambda: inside.status.active_connections == 1)
        await until(lambda: inside.status.active_connections == 0)

        assert inside.status.connections == 2


async def test_a_reply_of_several_lines_arrives_in_one_piece(tmp_path: Path) -> None:
    """Simple clients, such as smuggling checkers, read a whole reply with one recv."""
    async with mail_server(tmp_path) as inside:
        async with client(inside.port) as c:
            assert await c.code() == 220
            await c.send(b"EHLO me\r\n")
            assert (await c.reader.read(4096)).endswith(b"\r\n250 HELP\r\n")


FEW = {
    "in all": ServerLimits(connections=1),
    "from one address": ServerLimits(connections_per_address=1),
}


@pytest.mark.parametrize("limits", FEW.values(), ids=FEW)
async def test_a_client_over_the_limit_gets_421_and_is_counted(
    limits: ServerLimits, tmp_path: Path
) -> None:
    async with mail_server(tmp_path, limits=limits) as inside:
        async with client(inside.port) as first:
            assert await first.code() == 220
            async with client(inside.port) as second:
                await second.send(b"EHLO me\r\n")
                assert await second.rest() == b"421 4.7.0 Error: too many connections\r\n"
            await until(lambda: inside.status.active_connections == 1)
            assert inside.status.connections == 2
            assert inside.status.received_bytes == second.sent
            assert inside.status.sent_bytes == first.received + second.received
        await until(lambda: inside.status.active_connections == 0)
        async with client(inside.port) as third:
            assert await third.code() == 220


async def test_rejected_clients_stay_within_the_socket_limit(
    tmp_path: Path,
) -> None:
    sockets: list[int] = []

    async def one_too_many(inside: Inside) -> None:
        async with client(inside.port) as c:
            assert await c.code() == 421
            sockets.append(inside.status.active_connections)

    async with mail_server(tmp_path, limits=ServerLimits(connections=1, sockets=4)) as inside:
        async with client(inside.port) as first:
            assert await first.code() == 220
            await asyncio.gather(*(one_too_many(inside) for _ in range(30)))
            assert await first.ask(b"NOOP\r\n") == 250

    assert len(sockets) == 30
    assert max(sockets) <= 4


async def test_rejected_clients_do_not_count_as_sessions(tmp_path: Path) -> None:
    async with mail_server(tmp_path, limits=ServerLimits(connections=1)) as inside:
        async with client(inside.port) as first, client(inside.port) as lingering:
            assert await first.code() == 220
            assert await lingering.code() == 421
            await first.ask(b"QUIT\r\n")
            first.writer.close()
            await until(lambda: inside.status.active_connections == 1)

            async with client(inside.port) as next_one:
                assert await next_one.code() == 220


async def test_a_disconnected_client_counts_until_its_message_is_stored(tmp_path: Path) -> None:
    program = f"sh -c 'until [ -e {tmp_path}/go ]; do sleep 0.01; done; exec cat'"
    async with mail_server(tmp_path, program, limits=ServerLimits(connections=1)) as inside:
        async with client(inside.port) as leaving:
            await leaving.send(MAIL)
            await until(lambda: inside.busy)
            leaving.reset()
        await until(lambda: inside.status.active_connections == 0)
        async with client(inside.port) as early:
            assert await early.code() == 421
        (tmp_path / "go").touch()
        await until(lambda: inside.status.mails == 1 and not inside.busy)

        async with client(inside.port) as late:
            assert await late.code() == 220
            assert inside.admission.sessions == 1


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_aborted_connections_leave_no_session_and_no_task(
    tmp_path: Path, count: int
) -> None:
    dice = random.Random(1)
    stream = MAIL + b"NOOP\r\n" + MAIL + b"QUIT\r\n"

    async def ugly(inside: Inside, many: asyncio.Semaphore) -> None:
        async with many, client(inside.port) as c:
            if dice.random() < 0.8:
                await c.send(stream[: dice.randrange(len(stream))])
            if dice.random() < 0.3:
                await c.code()
            if dice.random() < 0.5:
                c.reset()

    async with mail_server(tmp_path, limits=ServerLimits(connections=30)) as inside:
        many = asyncio.Semaphore(40)
        await asyncio.gather(*(ugly(inside, many) for _ in range(count)))
        await until(lambda: inside.status.active_connections == 0 and not inside.busy)

        assert inside.status.connections == count
        assert inside.listener.connections == frozenset()
        assert inside.admission.sessions == 0
        assert inside.status.mails == len(inside.stored())
        assert inside.leftovers() == []


async def test_a_half_closed_client_still_receives_its_reply(tmp_path: Path) -> None:
    async with mail_server(tmp_path, "sh -c 'sleep 0.2; cat'") as inside:
        async with client(inside.port) as c:
            await c.send(MAIL + MAIL + b"QUIT\r\n")
            c.writer.write_eof()
            replies = await c.rest()

        assert replies.count(b"250 2.0.0 Ok: stored") == 2
        assert replies.endswith(b"221 2.0.0 Bye\r\n")
        assert len(inside.stored()) == 2


async def test_a_message_is_stored_if_its_client_disconnects_after_the_final_dot(
    tmp_path: Path,
) -> None:
    async with mail_server(tmp_path, "sh -c 'sleep 0.2; cat'") as inside:
        async with client(inside.port) as c:
            await c.send(MAIL)
            await until(lambda: inside.busy)
            c.reset()
            await until(lambda: inside.status.active_connections == 0)
        await until(lambda: inside.status.mails == 1)

        assert len(inside.stored()) == 1


async def test_a_client_that_quits_while_reading_is_paused_is_disconnected(
    tmp_path: Path,
) -> None:
    program = f"sh -c 'until [ -e {tmp_path}/release ]; do sleep 0.01; done; exec cat'"
    async with mail_server(tmp_path, program) as inside:
        async with client(inside.port) as c:
            await c.send(MAIL + b"QUIT\r\n" + b"NOOP\r\n" * 20_000)
            await until(lambda: inside.status.received_bytes > 100_000)
        await c.writer.wait_closed()
        (tmp_path / "release").touch()

        await until(lambda: inside.status.active_connections == 0)
        assert len(inside.stored()) == 1


async def test_a_silent_client_gets_421(tmp_path: Path) -> None:
    async with mail_server(tmp_path, limits=ServerLimits(idle=0.05)) as inside:
        async with client(inside.port) as c:
            assert await c.code() == 220
            assert await c.rest() == b"421 4.4.2 Error: timeout exceeded\r\n"


async def test_a_session_ends_at_its_time_limit(tmp_path: Path) -> None:
    async def chat(c: Client) -> None:
        while True:
            await c.send(b"NOOP\r\n")
            await asyncio.sleep(0.01)

    async with mail_server(tmp_path, limits=ServerLimits(session=0.2)) as inside:
        async with client(inside.port) as c:
            chatting = asyncio.create_task(chat(c))
            assert (await c.rest()).endswith(b"421 4.4.2 Error: timeout exceeded\r\n")
            chatting.cancel()


async def test_a_client_that_sends_its_message_too_slowly_gets_421(tmp_path: Path) -> None:
    async def drip(c: Client) -> None:
        while True:
            await c.send(b"x\r\n")
            await asyncio.sleep(0.01)

    async with mail_server(tmp_path, limits=ServerLimits(idle=0.1, message=0.3)) as inside:
        async with client(inside.port) as c:
            await c.send(ENVELOPE)
            dripping = asyncio.create_task(drip(c))
            assert (await c.rest()).endswith(b"421 4.4.2 Error: timeout exceeded\r\n")
            dripping.cancel()
        assert inside.stored() == []


async def test_time_limits_of_clients_do_not_include_transforms(tmp_path: Path) -> None:
    limits = ServerLimits(idle=0.1, message=0.1)
    async with mail_server(tmp_path, "sh -c 'sleep 0.4; cat'", limits=limits) as inside:
        async with client(inside.port) as c:
            await c.send(MAIL)
            for _ in range(5):
                await c.code()
            assert await c.code() == 250
            assert await c.rest() == b"421 4.4.2 Error: timeout exceeded\r\n"


async def test_a_client_that_does_not_read_replies_is_paused_and_then_disconnected(
    tmp_path: Path,
) -> None:
    limits, tireless = ServerLimits(idle=0.5), SessionLimits(commands=10_000_000)
    async with mail_server(tmp_path, limits=limits, session_limits=tireless) as inside:
        async with client(inside.port) as c:
            cast(asyncio.ReadTransport, c.writer.transport).pause_reading()
            flood = asyncio.create_task(c.send(b"NOOP\r\n" * 2_000_000))
            [connection] = inside.listener.connections
            await until(connection.ended.done)
            assert 0 < inside.status.received_bytes < 6_000_000
            await until(lambda: inside.status.active_connections == 0)
            flood.cancel()


async def test_a_half_closed_client_that_does_not_read_is_disconnected(
    tmp_path: Path,
) -> None:
    sent = MAIL + b"EHLO a\r\n" * 7900
    async with mail_server(tmp_path, limits=ServerLimits(idle=0.3)) as inside:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(5)
            await asyncio.to_thread(deaf.connect, ("127.0.0.1", inside.port))
            await asyncio.to_thread(deaf.sendall, sent)
            deaf.shutdown(socket.SHUT_WR)
            await until(lambda: len(inside.stored()) == 1)
            await until(lambda: inside.status.active_connections == 0)
            received = 0
            while octets := await asyncio.to_thread(deaf.recv, 65536):
                received += len(octets)

        assert (inside.status.received_bytes, inside.status.sent_bytes) == (len(sent), received)


async def test_octets_left_in_the_buffer_of_a_lost_client_are_not_counted(
    tmp_path: Path,
) -> None:
    async with mail_server(tmp_path) as inside:
        connection = Connection(inside.context)
        connection.connection_made(Clogged())
        greeting = inside.status.sent_bytes
        connection.connection_lost(ConnectionResetError())

        assert (greeting, inside.status.sent_bytes) == (
            len(b"220 mail.example ESMTP smtpstatus\r\n"),
            10,
        )


class Clogged(asyncio.Transport):
    """Transport whose socket accepts only ten octets."""

    size = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.size = len(data) - 10

    def get_write_buffer_size(self) -> int:
        return self.size

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass


async def test_messages_of_disconnected_clients_are_stored_before_the_server_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(descriptor: int) -> None:
        time.sleep(0.1)

    async with mail_server(tmp_path) as inside:
        monkeypatch.setattr("os.fsync", slowly)
        async with client(inside.port) as c:
            await c.send(MAIL)
            await until(lambda: inside.busy)
            c.reset()
            await until(lambda: inside.status.active_connections == 0)
            await inside.listener.stop(1)

        assert len(inside.stored()) == 1


@pytest.mark.parametrize("size", [100, 600_000, 3_000_000])
async def test_a_message_of_any_size_is_stored_unchanged(size: int, tmp_path: Path) -> None:
    line = b"0123456789 \xc3\xbc \xff\r\n"
    content = line * (size // len(line))
    async with mail_server(tmp_path, session_limits=SessionLimits(message_size=size)) as inside:
        async with client(inside.port) as c:
            await c.send(ENVELOPE + content + b".\r\nQUIT\r\n")
            assert b"250 2.0.0 Ok: stored" in await c.rest()

        [stored] = inside.stored()
        assert stored.endswith(content.replace(b"\r\n", b"\n"))
        assert stored.startswith(
            b"Return-Path: <a@x.org>\nReceived: from me.example ([127.0.0.1])\n"
        )
        assert inside.leftovers() == []


async def test_a_full_disk_while_a_large_message_arrives_is_452(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(directory: Path) -> None:
        raise OSError(28, "No space left on device")

    async with mail_server(tmp_path) as inside:
        monkeypatch.setattr("reference_server.spool.unnamed_file", full)
        async with client(inside.port) as c:
            await c.send(ENVELOPE + b"x\r\n" * 1_200_000 + b".\r\n" + ENVELOPE + b".\r\nQUIT\r\n")
            replies = await c.rest()

        assert b"452 4.3.1 Insufficient system storage" in replies
        assert b"250 2.0.0 Ok: stored" in replies
        assert len(inside.stored()) == 1


async def test_sessions_do_not_share_limits(
    tmp_path: Path,
) -> None:
    async with mail_server(tmp_path) as inside:
        async with client(inside.port) as one, client(inside.port) as other:
            long = b"MAIL FROM:<a@x>" + b" " * 600 + b"SIZE=1\r\nRSET\r\nMAIL FROM:<a@x>\r\n"
            await one.send(b"EHLO me\r\n" + long)
            await other.send(b"HELO me\r\nQUIT\r\n")
            assert b"221" in await other.rest()
            for _ in range(5):
                assert await one.code() in (220, 250)
            assert await one.ask(b"RCPT TO:<bob@example.com>\r\n") == 250


async def test_messages_being_stored_are_answered_before_421_at_shutdown(
    tmp_path: Path,
) -> None:
    async with mail_server(tmp_path, "sh -c 'sleep 0.3; cat'") as inside:
        async with client(inside.port) as c, client(inside.port) as idle:
            await idle.code()
            await c.send(MAIL)
            await until(lambda: inside.busy)
            await inside.listener.stop(2)
            replies = await c.rest()

            assert b"250 2.0.0 Ok: stored" in replies
            assert replies.endswith(b"421 4.3.2 Service shutting down\r\n")
            assert (await idle.rest()).startswith(b"421 4.3.2")
        assert len(inside.stored()) == 1


async def test_messages_are_rejected_after_the_grace_period_and_leave_nothing(
    tmp_path: Path,
) -> None:
    async with mail_server(
        tmp_path, "sh -c 'sleep 60; cat'", bounds=Bounds(seconds=100)
    ) as inside:
        async with client(inside.port) as transformed, client(inside.port) as sending:
            await transformed.send(MAIL)
            await sending.send(ENVELOPE + b"half")
            await until(lambda: inside.busy)
            await inside.listener.stop(0.2)

            assert b"451 4.3.2 Error: server busy" in await transformed.rest()
            assert (await sending.rest()).endswith(b"421 4.3.2 Service shutting down\r\n")
        assert inside.stored() == []
        assert inside.leftovers() == []
