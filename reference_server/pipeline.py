"""Processes a message after its final dot: transforms, delivery, and then the reply.

It does not depend on the client: if that disconnects, its message is delivered nevertheless.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from reference_server.address import Address
from reference_server.destination import DeliveryFailed, Destination, Message
from reference_server.diskspace import DiskSpace
from reference_server.event import Envelope
from reference_server.exit_status import TransformFailed
from reference_server.maillog import log_message, message_fields
from reference_server.relay.live import LiveTransaction
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import FAILED, Reply, reply_to
from reference_server.spool import Memory, Spool
from reference_server.status import ServerStatus
from reference_server.threads import started_pool
from reference_server.trace import received_header
from reference_server.transform import Program, TransformChain

logger = logging.getLogger(__name__)

_VARIABLE_OCTETS = 120_000


def message_identifiers() -> Iterator[int]:
    """Nanoseconds since the epoch, increased where the clock repeats or is set back: each message has its own."""
    last = 0
    while True:
        last = max(last + 1, time.time_ns())
        yield last


class Pipeline:
    """Transforms and delivers messages.

    Content that does not fit in memory is written to `directory`. `slots` messages are transformed simultaneously, the
    others wait. Must be created in a running event loop.
    """

    def __init__(
        self,
        hostname: str,
        status: ServerStatus,
        destination: Destination,
        directory: Path,
        programs: Sequence[Program],
        chain: TransformChain,
        slots: int,
    ) -> None:
        self._hostname = hostname
        self._identifiers = message_identifiers()
        self._status = status
        self._destination = destination
        self._directory = directory
        self._space = DiskSpace(directory)
        self._programs = tuple(programs)
        self._chain = chain
        self._slots = started_pool(slots, "transform") if programs else None

    def spool(self, memory: Memory) -> Spool:
        """A place for the content of a message."""
        return Spool(self._directory, memory)

    def discard(self, spool: Spool) -> None:
        """Close a spool; freeing a large file may take long, and is done in a thread."""
        if spool.in_file:
            asyncio.get_running_loop().run_in_executor(None, spool.close)
        else:
            spool.close()

    def has_room(self, octets: int) -> bool:
        """Whether the disk has room for a message of this size, according to the last measurement."""
        return self._space.fits(octets)

    async def accept(
        self,
        spool: Spool,
        envelope: Envelope,
        client: str,
        live: LiveTransaction | None = None,
    ) -> tuple[Reply, ...]:
        """Transform and deliver; returns a reply for each recipient. The spool is closed, and so is `live`."""
        started, identifier = time.monotonic(), f"{next(self._identifiers):X}"
        # Read once, so that the whole message uses the same setting: the one at its end.
        programs = self._programs if self._status.transforms_enabled else ()
        fields = message_fields(envelope, client, spool, identifier)
        error: Exception | None = None
        try:
            if programs:
                spool = await self._transform(spool, programs, envelope, client, identifier)
            received = received_header(envelope, client, self._hostname, identifier, time.time())
            message = Message(envelope, client, identifier, received, spool, live)
            replies = await self._destination.deliver(message)
        except Exception as raised:
            error = raised
            replies = (_reply_to(error),) * len(envelope.recipients)
        finally:
            self.discard(spool)
            if live:
                live.abandon()
        self._status.mails += any(reply.code < 300 for reply in replies)
        names = (program.name for program in programs)
        log_message(fields, replies, names, time.monotonic() - started, error)
        return replies

    async def _transform(
        self,
        spool: Spool,
        programs: Sequence[Program],
        envelope: Envelope,
        client: str,
        identifier: str,
    ) -> Spool:
        original = envelope.original_client or OriginalClient()
        variables = {
            "SENDER": str(envelope.sender or ""),
            "RECIPIENTS": _listed(envelope.recipients),
            "RECIPIENT_COUNT": str(len(envelope.recipients)),
            "CLIENT_ADDRESS": original.addr or client,
            "CLIENT_HELO": original.helo or envelope.helo,
            "MESSAGE_ID": identifier,
        }
        return await asyncio.get_running_loop().run_in_executor(
            self._slots, self._chain.run, programs, spool, variables, self._chain.deadline()
        )

    def stop(self) -> None:
        """Kill running programs, and abandon messages being forwarded; these are answered with 451."""
        self._chain.stop()
        self._destination.stop()

    async def aclose(self) -> None:
        """Wait until no message is in progress."""
        if self._slots:
            self._slots.shutdown()
        self._chain.close()
        await self._space.aclose()
        await self._destination.aclose()


def _listed(recipients: Sequence[Address]) -> str:
    """One address per line, as many as fit into a variable: execve(2) accepts 128 KiB."""
    lines, octets = [], 0
    for recipient in map(str, recipients):
        octets += len(recipient.encode()) + 1
        if octets > _VARIABLE_OCTETS:
            break
        lines.append(recipient)
    return "\n".join(lines)


def _reply_to(error: Exception) -> Reply:
    """The reply to a message that could not be transformed or delivered."""
    match error:
        case TransformFailed() | DeliveryFailed():
            return error.reply
        case OSError():
            return reply_to(error)
    logger.error("Message failed", exc_info=error)
    return FAILED
