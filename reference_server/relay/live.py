"""A message whose recipients the next hop decides one by one, before its content is known."""

from collections.abc import AsyncIterator
from dataclasses import replace

from reference_server.address import Address
from reference_server.relay.connection import Connection, Unavailable
from reference_server.relay.content import Measure
from reference_server.relay.events import NEXT_HOP_UNAVAILABLE, Finished, Lost, RecipientReplied
from reference_server.relay.pool import ConnectionPool
from reference_server.relay.transaction import Transaction
from reference_server.reply import Reply


class LiveTransaction:
    """Holds a connection from the first recipient to the end; `abandon` it where no content follows."""

    def __init__(self, pool: ConnectionPool, transaction: Transaction) -> None:
        self._pool = pool
        self._transaction = transaction
        self._connection: Connection | None = None
        self._refusal: Reply | None = None
        """What the hop replied to the message itself: the reply to all that follows."""

    async def add(self, recipient: Address) -> Reply:
        """Returns the hop's reply for a recipient."""
        if self._refusal:
            return self._refusal
        transaction = replace(self._transaction, recipients=(recipient,))
        try:
            connection = self._connection or await self._pool.acquire()
            if refusal := transaction.refusal(connection.extensions):
                self._connection = connection
                return refusal
            kept = self._connection is None and connection.messages > 0
            self._connection = connection
            result = await connection.add_recipient(self._transaction, recipient)
        except Unavailable:
            return NEXT_HOP_UNAVAILABLE
        except BaseException:
            self._release()
            raise
        if isinstance(result, RecipientReplied):
            return result.reply
        self._release()
        if isinstance(result, Lost) and kept:
            return await self.add(recipient)  # the hop had closed a kept connection
        self._refusal = result.replies[0] if result.replies else NEXT_HOP_UNAVAILABLE
        return self._refusal

    async def send(
        self, recipients: tuple[Address, ...], measure: Measure, content: AsyncIterator[bytes]
    ) -> Finished | Lost:
        """Sends the content to the recipients that were accepted. Raises what `Connection.send` raises."""
        transaction = replace(self._transaction, recipients=recipients, measure=measure)
        if not self._connection:
            return Lost("no session with the next hop", (NEXT_HOP_UNAVAILABLE,) * len(recipients))
        try:
            return await self._connection.send_content(transaction, content)
        finally:
            self._release()

    def abandon(self) -> None:
        """Gives the connection back without a message. Safe to repeat."""
        if self._connection:
            self._connection.abandon()
        self._release()

    def _release(self) -> None:
        if self._connection:
            self._pool.release(self._connection)
        self._connection = None
