"""SMTP over TCP: sessions on sockets, counted to the byte, bounded in number and time, and ended in good order.

docs/metrics.md says what is counted; it happens here and nowhere else: a connection when it was accepted and when
it is lost, an octet when it was received and when it was handed to the kernel.
"""

import asyncio
import logging
import math
import socket
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from itertools import count
from typing import cast

from reference_server.address import Address
from reference_server.intake import Intake
from reference_server.reply import UNAVAILABLE, Reply
from reference_server.session import (
    Abandoned,
    Closed,
    Complete,
    Content,
    Envelope,
    Event,
    Session,
    SessionLimits,
    Started,
)
from reference_server.spool import Spool
from reference_server.status import ServerStatus

logger = logging.getLogger(__name__)

_READ_AHEAD = 64 * 1024
"""Octets taken from a client that does not wait for the answer to its message."""

_LINGER = 1.0
"""Seconds for reading the last reply: closing a socket with input unread would take the reply away."""

_LAST_REPLY = 0.3
"""Seconds of `_LINGER` when the whole server ends."""

_TOO_MANY = Reply(421, "4.7.0", "too many connections, try again later")
_TOO_SLOW = Reply(421, "4.4.2", "too slow, good-bye")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How many may come, and for how many seconds they may stay."""

    connections: int = 1000
    connections_per_address: int = 500
    idle: float = 300
    """Between two pieces of input (RFC 5321 4.5.3.2.7)."""
    message: float = 900
    """From DATA to the final dot, however lively the client."""
    session: float = 3600


class MailServer:
    """A listening socket and its sessions."""

    def __init__(
        self,
        hostname: str,
        domains: frozenset[str],
        status: ServerStatus,
        intake: Intake,
        session_limits: SessionLimits,
        limits: ServerLimits,
    ) -> None:
        self.hostname = hostname
        self.status = status
        self.intake = intake
        self.session_limits = session_limits
        self.limits = limits
        self.connections: set[Connection] = set()
        self.per_address: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()
        self.identifiers = count(1)
        self._domains = {domain.lower() for domain in domains} | {""}  # "" is <postmaster>'s
        self._listening: asyncio.Server | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=listening, backlog=1024
        )

    def accepts(self, recipient: Address) -> bool:
        """Whether mail for `recipient` stays here; to take any other would be relaying."""
        return recipient.domain.lower() in self._domains

    def has_room(self, address: str) -> bool:
        """Whether a client from `address`, counted already, is not one too many."""
        return (
            len(self.connections) <= self.limits.connections
            and self.per_address[address] <= self.limits.connections_per_address
        )

    async def stop(self, grace: float) -> None:
        """Take no more connections, and end every session with 421: at once, or when its message is answered.

        After `grace` seconds programs are killed, and messages that are still coming in are cut off.
        """
        if self._listening:
            self._listening.close()
        for connection in list(self.connections):
            connection.finish()
        await _wait((connection.ended for connection in self.connections), grace)
        self.intake.stop()
        for connection in list(self.connections):
            connection.expire(UNAVAILABLE)
        await _wait(self.tasks)
        await _wait((connection.lost for connection in self.connections), _LAST_REPLY)
        for connection in list(self.connections):
            connection.cut()
        await _wait(connection.lost for connection in self.connections)


async def _wait(futures: Iterable[asyncio.Future[None]], timeout: float | None = None) -> None:
    if waited := list(futures):
        await asyncio.wait(waited, timeout=timeout)


class Connection(asyncio.Protocol):
    """The socket of one session. `ended` is done when the last reply was sent, `lost` when the socket is closed."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._status = server.status
        self._loop = asyncio.get_running_loop()
        self._session = Session(server.hostname, server.accepts, server.session_limits)
        self._spool: Spool | None = None
        self._envelope: Envelope | None = None
        self._task: asyncio.Task[None] | None = None
        self._unsent = 0
        self._half_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._message_until = math.inf
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Everything that the kernel did not take at once is seen: no reading meanwhile, and an exact count.
        self._transport.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        self._client: str = peer[0] if peer else "unknown"  # a client may be gone already
        self._opened = self._heard = self._loop.time()
        self._status.connections += 1
        self._status.active_connections += 1
        self._server.connections.add(self)
        self._server.per_address[self._client] += 1
        self._log("connection opened")
        if self._server.has_room(self._client):
            self._session.open()
            self._handle([])
            self._watch()
        else:
            logger.warning("connection refused", extra={"client": self._client})
            self._handle(self._session.close(_TOO_MANY))

    def data_received(self, data: bytes) -> None:
        self._status.received_bytes += len(data)
        self._heard = self._loop.time()
        if not self.ended.done():
            self._handle(self._session.receive(data))

    def eof_received(self) -> bool:
        """The client sends no more. One that waits for its answer still gets it."""
        self._half_closed = True
        return self._session.waiting

    def pause_writing(self) -> None:
        self._read_or_not()

    def resume_writing(self) -> None:
        self._unsent = 0
        self._read_or_not()

    def connection_lost(self, exc: Exception | None) -> None:
        self._status.active_connections -= 1
        self._status.sent_bytes -= self._unsent
        self._server.connections.discard(self)
        self._server.per_address[self._client] -= 1
        if not self._server.per_address[self._client]:
            del self._server.per_address[self._client]
        if self._timer:
            self._timer.cancel()
        self._end()
        self.lost.set_result(None)
        if self._task is None:
            self._drop()
        self._log("connection closed")

    # What the server calls.

    def finish(self) -> None:
        """End the session with 421: now, or when the message that is under way was answered."""
        self._handle(self._session.finish(UNAVAILABLE))

    def expire(self, reply: Reply) -> None:
        """End the session now, unless a complete message waits for its answer, which must not be given twice."""
        if not self._session.waiting:
            self._handle(self._session.close(reply))

    def cut(self) -> None:
        """Close the socket, whatever the client has not read."""
        self._transport.abort()

    # The way of what a client sends.

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Started(envelope):
                    self._envelope = envelope
                    self._spool = Spool(self._server.intake.maildirs.root)
                    self._message_until = self._loop.time() + self._server.limits.message
                case Content(octets) if self._spool:
                    self._spool.append(octets)
                case Abandoned():
                    self._drop()
                case Complete() if self._spool and self._envelope:
                    self._run(self._accept(self._spool, self._envelope))
                    self._spool = None  # the task's from here on
        self._send(self._session.take_replies())
        if any(isinstance(event, Closed) for event in events):
            self._linger()
        elif self._spool and self._spool.full and self._task is None:
            self._run(self._spill(self._spool))
        self._read_or_not()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self._task = task = self._loop.create_task(work)
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _accept(self, spool: Spool, envelope: Envelope) -> None:
        identifier = f"{time.time_ns() // 1_000_000:X}-{next(self._server.identifiers)}"
        reply = await self._server.intake.accept(spool, envelope, self._client, identifier)
        self._task = None
        if self.lost.done():
            return
        self._heard = self._loop.time()
        self._message_until = math.inf
        self._handle(self._session.answer(reply))
        if self._half_closed and not self._session.waiting:
            self._transport.close()

    async def _spill(self, spool: Spool) -> None:
        await asyncio.to_thread(spool.spill)
        self._task = None
        if self.lost.done() or self.ended.done():
            self._drop()
        else:
            self._read_or_not()

    def _drop(self) -> None:
        if self._spool:
            self._spool.close()
        self._spool = None
        self._message_until = math.inf

    def _send(self, octets: bytes) -> None:
        if not octets or self._transport.is_closing():
            return
        self._transport.write(octets)
        if (
            not self._transport.is_closing()
        ):  # it is, where the client was gone and nothing was taken
            self._status.sent_bytes += len(octets)
            self._unsent = self._transport.get_write_buffer_size()

    def _read_or_not(self) -> None:
        """Read on, unless there is more of the client's than fits, or more for the client than it takes."""
        spilling = self._task is not None and not self._session.waiting
        ahead = self._session.waiting and self._session.buffered > _READ_AHEAD
        unread = self._transport.get_write_buffer_size() > 0
        if not self.ended.done() and (spilling or ahead or unread):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _watch(self) -> None:
        """Look at the clock, again and again; it stands still while a message waits for its answer."""
        now, limits = self._loop.time(), self._server.limits
        due = now + limits.idle
        if not self._session.waiting:
            due = min(
                self._heard + limits.idle, self._message_until, self._opened + limits.session
            )
        if due <= now:
            self.expire(_TOO_SLOW)
        else:
            self._timer = self._loop.call_at(due, self._watch)

    def _linger(self) -> None:
        """The last reply is on its way: take nothing more, and let the client close first."""
        self._end()
        if self._task is None:
            self._drop()
        if self._timer:
            self._timer.cancel()
        if self._half_closed:
            self._transport.close()
        else:
            self._transport.write_eof()
            self._timer = self._loop.call_later(_LINGER, self._transport.abort)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _log(self, text: str) -> None:
        if self._status.verbose:
            logger.info(text, extra={"client": self._client})
