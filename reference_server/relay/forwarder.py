"""Messages to a next hop, as a `Destination`: each recipient gets the hop's own reply."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from reference_server.destination import DeliveryFailed, Message
from reference_server.event import Envelope
from reference_server.limits import LAST_LOOK_S
from reference_server.relay.content import InvalidContent
from reference_server.relay.events import NEXT_HOP_UNAVAILABLE, Finished, Lost
from reference_server.relay.live import LiveTransaction
from reference_server.relay.loop import LOOP, RECEIVED_LIMIT
from reference_server.relay.next_hop import NextHop
from reference_server.relay.pool import ConnectionPool
from reference_server.relay.source import Source
from reference_server.relay.transaction import Transaction
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import FAILED, Reply

logger = logging.getLogger(__name__)


class Forwarder:
    """Sends each message once. Nothing is queued: what the hop does not accept stays with the client."""

    def __init__(self, hop: NextHop, hostname: str, connections: int, timeout_s: float) -> None:
        self._hop = hop
        self._pool = ConnectionPool(hop, hostname, connections)
        self._timeout_s = timeout_s
        self._under_way: set[asyncio.Timeout] = set()
        self._stopped = False

    async def deliver(self, message: Message) -> tuple[Reply, ...]:
        """Returns the hop's reply for each recipient. Raises `DeliveryFailed` and `OSError` as `Destination` does."""
        envelope = message.envelope
        source = Source(message.received, message.spool)
        measure = await source.measure()
        if source.received_fields > RECEIVED_LIMIT:
            raise DeliveryFailed(LOOP, f"{source.received_fields} Received fields: a mail loop")
        try:
            async with self._deadline():
                if message.live:
                    result = await message.live.send(envelope.recipients, measure, source.blocks())
                else:
                    transaction = replace(_transaction(envelope, message.client), measure=measure)
                    result = await self._pool.send(transaction, source.blocks())
        except TimeoutError:
            reason = "server is stopping" if self._stopped else "timed out"
            raise DeliveryFailed(NEXT_HOP_UNAVAILABLE, f"{self._hop}: {reason}") from None
        except InvalidContent as error:
            # Only a transform can have written it: what clients send is checked when it comes in.
            raise DeliveryFailed(FAILED, f"transformed message is invalid: {error}") from None
        return self._replies(result, message)

    def open(self, envelope: Envelope, client: str) -> LiveTransaction:
        """Starts a message whose recipients the hop decides one by one; `client` is a numeric address."""
        transaction = replace(_transaction(envelope, client), recipients=())
        return LiveTransaction(self._pool, transaction, self._deadline)

    def stop(self) -> None:
        """Abandons messages in progress, which are answered with 451."""
        self._stopped = True
        for timeout in self._under_way:
            _end(timeout, 0)

    async def aclose(self) -> None:
        """Ends the connections; no message is under way."""
        await self._pool.close()

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        """Ends the block after the time limit and a last look at the sockets.

        When this process was stopped for long, the hop's reply may be there: without it, the client would send again
        what the hop has accepted.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0 if self._stopped else None) as timeout:
            timer = loop.call_later(self._timeout_s, _end, timeout, LAST_LOOK_S)
            self._under_way.add(timeout)
            try:
                yield
            finally:
                timer.cancel()
                self._under_way.discard(timeout)

    def _replies(self, result: Finished | Lost, message: Message) -> tuple[Reply, ...]:
        if isinstance(result, Lost):
            # A client that sends the message again may then deliver it twice (RFC 1047).
            sent = ", after the content was sent" if result.content_sent else ""
            reason = f"{self._hop}: {result.reason}{sent}"
            if set(result.replies) == {NEXT_HOP_UNAVAILABLE}:
                raise DeliveryFailed(NEXT_HOP_UNAVAILABLE, reason)
            logger.warning("Next hop failed", extra={"id": message.identifier, "err": reason})
        return result.replies


def _end(timeout: asyncio.Timeout, seconds: float) -> None:
    """Lets a timeout expire after some time, unless it has expired."""
    if not timeout.expired():
        timeout.reschedule(asyncio.get_running_loop().time() + seconds)


def _transaction(envelope: Envelope, client: str) -> Transaction:
    """A message without its measure. The original client is the connected one, unless it sent XFORWARD."""
    original = envelope.original_client or OriginalClient(
        addr=client, proto=envelope.protocol, helo=envelope.helo
    )
    return Transaction(envelope.sender, envelope.recipients, None, envelope.smtputf8, original)
