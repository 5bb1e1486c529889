"""The socket of one session: octets to the state machine, replies to the client, each counted, and time limits kept.

docs/metrics.md says what is counted; counting happens only here: a connection when it is accepted and when
it is lost, an octet when it is received and when it is handed to the kernel.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar, cast

from reference_server.clock import SessionClock
from reference_server.context import ServerContext
from reference_server.event import (
    Abandoned,
    Closed,
    Complete,
    Content,
    Envelope,
    Event,
    RecipientOffered,
    Rejected,
    Started,
    TransactionEnded,
)
from reference_server.limits import LINGER_S, READ_AHEAD_BYTES
from reference_server.listen_address import client_address
from reference_server.maillog import log_aborted, log_message, log_rejection, message_fields
from reference_server.relay.live import LiveTransaction
from reference_server.reply import TOO_MANY, TOO_SLOW, UNAVAILABLE, Reply
from reference_server.service import Service
from reference_server.session import Session
from reference_server.spool import Spool

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Connection(asyncio.BufferedProtocol):
    """One client, from the accepted socket to the last message's answer.

    `ended` is done when the last reply was sent, `lost` when the socket is closed, and `finished` when, besides,
    the message that was under way is stored or refused.
    """

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._status = context.status
        self._loop = asyncio.get_running_loop()
        self._service: Service
        self._session: Session
        self._transport: asyncio.Transport
        self._client = "unknown"
        self._admitted = False
        now = self._loop.time()
        self._clock = SessionClock(context.limits, opened=now, heard=now)
        self._spool: Spool | None = None
        self._envelope: Envelope | None = None
        self._live: LiveTransaction | None = None
        self._unsent = 0
        self._scheduled = False
        self._half_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        """Current task for the message: moving it to a file, or transforming and delivering it."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.finished: asyncio.Future[None] = self._loop.create_future()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Whatever the kernel did not accept immediately is seen: no reading meanwhile, and an exact count.
        self._transport.set_write_buffer_limits(high=0)
        self._client = client_address(transport)
        self._service = self._context.service(self._client)
        self._session = Session(self._service, self._context.session_limits)
        self._status.connections += 1
        self._status.active_connections += 1
        self._log("Connection opened")
        self._admitted = self._context.admission.admit(self._client)
        if self._admitted:
            self._session.open()
            self._handle([])
            self._watch()
        else:
            logger.warning(
                "Connection rejected: too many connections",
                extra={"client": self._client or "unix"},
            )
            self._handle(self._session.close(TOO_MANY))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._context.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._status.received_bytes += nbytes
        self._clock.heard = self._loop.time()
        if not self.ended.done():
            self._session.receive(bytes(self._context.buffer[:nbytes]))
            self._continue()

    def eof_received(self) -> bool:
        """The client has closed its sending half. If it waits for a reply, it still gets it."""
        self._half_closed = True
        return self._session.waiting or self._session.pending

    def pause_writing(self) -> None:
        self._read_or_not()

    def resume_writing(self) -> None:
        self._unsent = 0
        self._continue()

    def connection_lost(self, exc: Exception | None) -> None:
        self._status.active_connections -= 1
        self._status.sent_bytes -= self._unsent
        if self._timer:
            self._timer.cancel()
        self._log_aborted()
        self._end()
        self.lost.set_result(None)
        if self.task is None:
            self._finish()
        self._log("Connection closed")

    # Called by the listener.

    def finish(self) -> None:
        """End the session with 421: now, or when the message that is under way was answered."""
        self._handle(self._session.finish(UNAVAILABLE))

    def expire(self, reply: Reply) -> None:
        """End the session now, unless a complete message waits for its answer, which must not be given twice."""
        if not self._session.waiting:
            if not self.ended.done():
                logger.info("Session ended", extra={"client": self._client, "reply": reply})
            self._handle(self._session.close(reply))

    def cut(self) -> None:
        """Close the socket, whatever the client has not read."""
        self._unsent = self._transport.get_write_buffer_size()
        self._transport.abort()

    # What a client sends, step by step.

    def _continue(self) -> None:
        """Process what has arrived, in turn with the other sessions; read on only when that is done."""
        if self._ready and not self._scheduled:
            self._scheduled = True
            self._context.scheduler.run(self._step)
        elif self._half_closed and not (self._session.waiting or self._session.pending):
            self._transport.close()
        self._read_or_not()

    @property
    def _ready(self) -> bool:
        """Whether there is input to process, and nothing that it has to wait for."""
        return self._session.pending and not (self._spilling or self._unread or self.ended.done())

    @property
    def _spilling(self) -> bool:
        return self.task is not None and not self._session.waiting

    @property
    def _unread(self) -> bool:
        """Whether the client has not accepted all replies."""
        return self._transport.get_write_buffer_size() > 0

    def _step(self) -> bool:
        self._handle(self._session.advance())
        self._scheduled = self._ready
        if not self._scheduled:
            self._continue()
        return self._scheduled

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Started(envelope):
                    self._envelope = envelope
                    self._spool = self._context.pipeline.spool(self._context.memory)
                    self._clock.start_message(self._loop.time())
                case Content(octets) if self._spool:
                    self._spool.append(octets)
                case Abandoned(reply) if self._spool and self._envelope:
                    fields = message_fields(self._envelope, self._client, self._spool, "")
                    log_message(fields, [reply])
                    self._drop()
                case Rejected() as rejected:
                    log_rejection(rejected, self._client)
                case Complete() if self._spool and self._envelope:
                    accepted = self._context.pipeline.accept(
                        self._spool, self._envelope, self._client, self._live
                    )
                    self._spool = self._live = None  # the task's from here on
                    self._clock.end_message()
                    self._run(accepted, self._session.answer)
                case RecipientOffered(envelope) if self._service.live:
                    self._live = self._live or self._service.live(envelope)
                    (recipient,) = envelope.recipients
                    self._run(self._live.add(recipient), self._session.answer_recipient)
                case TransactionEnded():
                    self._drop()
        self._send(self._session.take_replies())
        if any(isinstance(event, Closed) for event in events):
            self._linger()
        elif self._spool and self._spool.full and self.task is None:
            self._run(asyncio.to_thread(self._spool.spill), lambda _: [])

    def _run(self, work: Coroutine[None, None, T], then: Callable[[T], list[Event]]) -> None:
        self.task = self._loop.create_task(self._wait(work, then))

    async def _wait(
        self, work: Coroutine[None, None, T], then: Callable[[T], list[Event]]
    ) -> None:
        """Waits for a slow operation, then continues the session unless it has ended."""
        result = await work
        self.task = None
        if self.lost.done():
            self._finish()
        elif self.ended.done():
            self._drop()
        else:
            self._clock.heard = self._loop.time()
            self._handle(then(result))
            self._continue()

    def _finish(self) -> None:
        self._drop()
        if self._admitted:
            self._context.admission.release(self._client)
        self.finished.set_result(None)

    def _drop(self) -> None:
        if self._spool:
            self._context.pipeline.discard(self._spool)
        if self._live:
            self._live.abandon()
        self._spool = self._live = None
        self._clock.end_message()

    def _send(self, octets: bytes) -> None:
        if not octets or self._transport.is_closing():
            return
        self._transport.write(octets)
        # It is closing if the client has disconnected: then nothing was accepted.
        if not self._transport.is_closing():
            self._status.sent_bytes += len(octets)
            self._unsent = self._transport.get_write_buffer_size()

    def _read_or_not(self) -> None:
        """Resumes reading, unless the input buffer is full or the client does not read its replies."""
        ahead = self._session.waiting and self._session.buffered > READ_AHEAD_BYTES
        full = self._scheduled or self._spilling or ahead or self._unread
        if full and not self.ended.done():
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _watch(self) -> None:
        """Checks the time limits and reschedules itself; they do not apply while a message waits for its reply."""
        look = self._clock.next_look(self._loop.time(), self._session.waiting)
        if look is None:
            self.expire(TOO_SLOW)
        else:
            self._timer = self._loop.call_at(look, self._watch)

    def _linger(self) -> None:
        """Stops processing after the last reply, and waits for the client to close first."""
        self._log_aborted()
        self._end()
        if self.task is None:
            self._drop()
        if self._timer:
            self._timer.cancel()
        if self._half_closed:
            self._transport.close()
        else:
            with suppress(OSError):  # the client may have disconnected already
                self._transport.write_eof()
        # Both wait for the client to read what is left, and it may never do so.
        self._timer = self._loop.call_later(LINGER_S, self.cut)

    def _log_aborted(self) -> None:
        if self._spool and self._envelope and not self.ended.done():
            log_aborted(message_fields(self._envelope, self._client, self._spool, ""))

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _log(self, text: str) -> None:
        if self._status.verbose:
            logger.info(text, extra={"client": self._client or "unix"})
