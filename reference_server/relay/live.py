"""A message whose recipients the next hop decides one by one, before its content is known."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from reference_server.address import Address
from reference_server.relay.connection import Connection, Unavailable
from reference_server.relay.content import Measure
from reference_server.relay.events import NEXT_HOP_UNAVAILABLE, Finished, Lost, RecipientReplied
from reference_server.relay.pool import ConnectionPool
from reference_server.relay.transaction import Transaction
from reference_server.reply import Reply


class LiveTransaction:
    """Holds a connection from the first recipient to the end; `abandon` it where no content follows.

    `deadline` raises `TimeoutError` in what takes too long.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        transaction: Transaction,
        deadline: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._pool = pool
        self._transaction = transaction
        self._deadline = deadline
        self._connection: Connection | None = None
        self._accepted: list[bool] = []
        """Whether the hop accepted each recipient that it was asked for."""
        self._refusal: Reply | None = None
        """What the hop replied to the message itself: the reply to all that follows."""

    async def add(self, recipient: Address) -> Reply:
        """Returns the hop's reply for a recipient."""
        try:
            async with self._deadline():
                return await self._add(recipient)
        except TimeoutError:
            return NEXT_HOP_UNAVAILABLE

    async def _add(self, recipient: Address) -> Reply:
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
            self._accepted.append(result.reply.code < 300)
            return result.reply
        self._release()
        if isinstance(result, Lost) and kept:
            return await self._add(recipient)  # the hop had closed a kept connection
        self._refusal = result.replies[0] if result.replies else NEXT_HOP_UNAVAILABLE
        return self._refusal

    async def send(
        self, recipients: tuple[Address, ...], measure: Measure, content: AsyncIterator[bytes]
    ) -> Finished | Lost:
        """Sends the content to the recipients that were accepted; returns a reply for each of `recipients`.

        Raises what `Connection.send` raises.
        """
        transaction = replace(self._transaction, recipients=recipients, measure=measure)
        if not self._connection:
            return Lost("no session with the next hop", (NEXT_HOP_UNAVAILABLE,) * len(recipients))
        try:
            result = await self._connection.send_content(transaction, content)
        finally:
            self._release()
        # SMTP has one reply for all recipients that were accepted.
        outcome = result.replies[self._accepted.index(True)]
        return replace(result, replies=(outcome,) * len(recipients))

    def abandon(self) -> None:
        """Gives the connection back without a message. Safe to repeat."""
        if self._connection:
            self._connection.abandon()
        self._release()

    def _release(self) -> None:
        if self._connection:
            self._pool.release(self._connection)
        self._connection = None
