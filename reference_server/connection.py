"""The socket of one session: bytes to the machine, replies to the client, each counted, and the clock watched.

docs/metrics.md says what is counted; it happens here and nowhere else: a connection when it was accepted and when
it is lost, an octet when it was received and when it was handed to the kernel.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from reference_server.address import Address
from reference_server.event import Abandoned, Closed, Complete, Content, Envelope, Event, Started
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.pipeline import Pipeline
from reference_server.reply import UNAVAILABLE, Reply
from reference_server.session import Session
from reference_server.spool import Memory, Spool
from reference_server.status import ServerStatus

logger = logging.getLogger(__name__)

_READ = 256 * 1024
"""Octets read at once, at most."""

_READ_AHEAD = 64 * 1024
"""Octets taken from a client that does not wait for the answer to its message."""

_LINGER = 1.0
"""Seconds for reading the last reply: closing a socket with input unread would take the reply away."""

_TOO_MANY = Reply(421, "4.7.0", "too many connections, try again later")
_TOO_SLOW = Reply(421, "4.4.2", "too slow, good-bye")


@dataclass(slots=True)
class Sessions:
    """What the sessions of one server share, and who is there. `domains` are written in small letters."""

    hostname: str
    domains: frozenset[str]
    status: ServerStatus
    intake: Pipeline
    session_limits: SessionLimits = field(default_factory=SessionLimits)
    limits: ServerLimits = field(default_factory=ServerLimits)
    connections: set["Connection"] = field(default_factory=set)
    """Who was let in, until the client is gone and its last message is stored."""
    per_address: Counter[str] = field(default_factory=Counter)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """What goes on for messages, also of clients that are gone."""
    memory: Memory = field(default_factory=Memory)
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(_READ)))
    """Where asyncio puts what it reads, copied out at once: one for all, since a new one each time costs more."""

    def accepts(self, recipient: Address) -> bool:
        """Whether mail for `recipient` stays here; to take any other would be relaying."""
        # Without a domain it is <postmaster>, which every server has.
        return not recipient.domain or recipient.domain.lower() in self.domains

    def enter(self, connection: "Connection", client: str) -> bool:
        """Let in who came, if there is room; returns whether there was."""
        if (
            len(self.connections) >= self.limits.connections
            or self.per_address[client] >= self.limits.connections_per_address
        ):
            return False
        self.connections.add(connection)
        self.per_address[client] += 1
        return True

    def leave(self, connection: "Connection", client: str) -> None:
        """Make room again, if it was let in."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.per_address[client] -= 1
        if not self.per_address[client]:
            del self.per_address[client]

    def run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class Connection(asyncio.BufferedProtocol):
    """The socket of one session. `ended` is done when the last reply was sent, `lost` when the socket is closed."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._status = sessions.status
        self._loop = asyncio.get_running_loop()
        self._session = Session(
            sessions.hostname, sessions.accepts, sessions.intake.has_room, sessions.session_limits
        )
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
        self._log("Connection opened")
        if self._sessions.enter(self, self._client):
            self._session.open()
            self._handle([])
            self._watch()
        else:
            logger.warning(
                "Connection rejected: too many connections", extra={"client": self._client}
            )
            self._handle(self._session.close(_TOO_MANY))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._sessions.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._status.received_bytes += nbytes
        self._heard = self._loop.time()
        if not self.ended.done():
            self._handle(self._session.receive(bytes(self._sessions.buffer[:nbytes])))

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
        if self._timer:
            self._timer.cancel()
        self._end()
        self.lost.set_result(None)
        if self._task is None:
            self._drop()
            self._sessions.leave(self, self._client)
        else:  # its message goes on, and has files open
            self._task.add_done_callback(lambda _: self._sessions.leave(self, self._client))
        self._log("Connection closed")

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
        self._unsent = self._transport.get_write_buffer_size()
        self._transport.abort()

    # The way of what a client sends.

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Started(envelope):
                    self._envelope = envelope
                    sessions = self._sessions
                    self._spool = Spool(sessions.intake.maildirs.root, sessions.memory)
                    self._message_until = self._loop.time() + self._sessions.limits.message
                case Content(octets) if self._spool:
                    self._spool.append(octets)
                case Abandoned():
                    self._drop()
                case Complete() if self._spool and self._envelope:
                    self._task = self._sessions.run(self._accept(self._spool, self._envelope))
                    self._spool = None  # the task's from here on
        self._send(self._session.take_replies())
        if any(isinstance(event, Closed) for event in events):
            self._linger()
        elif self._spool and self._spool.full and self._task is None:
            self._task = self._sessions.run(self._spill(self._spool))
        self._read_or_not()

    async def _accept(self, spool: Spool, envelope: Envelope) -> None:
        identifier = f"{time.time_ns():X}"
        reply = await self._sessions.intake.accept(spool, envelope, self._client, identifier)
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
        # It is closing now if the client turned out to be gone: then nothing was taken.
        if not self._transport.is_closing():
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
        now, limits = self._loop.time(), self._sessions.limits
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
            with suppress(OSError):  # a client that is gone by now has no other half to close
                self._transport.write_eof()
        # Both wait for the client to take what is left, and it may never do so.
        self._timer = self._loop.call_later(_LINGER, self.cut)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _log(self, text: str) -> None:
        if self._status.verbose:
            logger.info(text, extra={"client": self._client})
