"""The socket of one client session: commands to the server, replies to the state machine."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from protocol.address import HostPort
from reference_server.address import Address
from reference_server.relay.events import (
    ClientEvent,
    ContentWanted,
    Finished,
    Lost,
    Ready,
    RecipientReplied,
)
from reference_server.relay.extensions import Extensions
from reference_server.relay.next_hop import Protocol
from reference_server.relay.session import ClientSession
from reference_server.relay.transaction import Transaction

_READ_BYTES = 65536

_QUIT_S = 0.3
"""Seconds for the reply to QUIT."""


class Unavailable(Exception):
    """The next hop cannot be reached, or does not accept a session."""


class Connection:
    """A connection that is greeted and can send one message after the other; one at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: ClientSession
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session
        self.messages = 0
        """Messages sent so far."""

    @classmethod
    async def open(
        cls, protocol: Protocol, addresses: Sequence[Path | HostPort], hostname: str
    ) -> Self:
        """Connects to the first numeric address or path that accepts it, and completes EHLO or LHLO.

        Raises `Unavailable`, which says why.
        """
        reader, writer = await _connect(addresses)
        connection = cls(reader, writer, ClientSession(hostname, protocol))
        try:
            await connection._greet()
        except BaseException:
            connection.abort()
            raise
        return connection

    @property
    def extensions(self) -> Extensions:
        """What the server offers."""
        return self._session.extensions

    @property
    def usable(self) -> bool:
        """Whether the next message can be sent, as far as is known without asking the server."""
        return self._session.idle and not self._reader.at_eof() and not self._writer.is_closing()

    async def send(
        self, transaction: Transaction, content: AsyncIterator[bytes]
    ) -> Finished | Lost:
        """Sends a message; `content` is read only once the server wants it.

        Raises what `content` raises, and `InvalidContent`; then, as after cancellation, the connection has to be
        aborted.
        """
        self.messages += 1
        return await self._send(self._session.send(transaction), content)

    async def add_recipient(
        self, transaction: Transaction, recipient: Address
    ) -> RecipientReplied | Finished | Lost:
        """Asks for a recipient of a message whose content is not known yet; the first one starts the message.

        `Finished` is a refusal of the message itself.
        """
        if self._session.idle:
            self.messages += 1
            self._session.open_transaction(transaction)
        self._session.add_recipient(recipient)
        while True:
            for event in await self._exchange():
                if isinstance(event, RecipientReplied | Finished | Lost):
                    return event

    async def send_content(
        self, transaction: Transaction, content: AsyncIterator[bytes]
    ) -> Finished | Lost:
        """Ends a message whose recipients were added one by one; raises as `send` does."""
        return await self._send(self._session.request_content(transaction), content)

    def abandon(self) -> None:
        """Gives up a message whose recipients were added one by one."""
        self._session.abandon()

    async def _send(
        self, events: list[ClientEvent], content: AsyncIterator[bytes]
    ) -> Finished | Lost:
        while True:
            for event in events:
                if isinstance(event, Finished | Lost):
                    return event
                if isinstance(event, ContentWanted):
                    await self._send_content(content)
            events = await self._exchange()

    async def quit(self) -> None:
        """Ends the session with QUIT, and closes the connection."""
        self._session.quit()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIT_S):
                await self._exchange()
        self.abort()

    def abort(self) -> None:
        """Closes the connection immediately; a message without its final dot is discarded by the server."""
        self._writer.transport.abort()

    async def _greet(self) -> None:
        while True:
            events = await self._exchange()
            for event in events:
                if isinstance(event, Lost):
                    raise Unavailable(event.reason)
            if any(isinstance(event, Ready) for event in events):
                return

    async def _send_content(self, content: AsyncIterator[bytes]) -> None:
        async for block in content:
            self._session.send_content(block)
            if not await self._flush():
                return
        self._session.finish_content()

    async def _exchange(self) -> list[ClientEvent]:
        """Sends what the machine has to say, and returns what follows from the next bytes of the server.

        After the end of the session that is `Lost`, which an earlier event of the same read may have hidden.
        """
        if self._session.lost:
            return [self._session.lost]
        await self._flush()
        try:
            octets = await self._reader.read(_READ_BYTES)
        except OSError as error:
            return self._session.lose(_reason(error))
        if not octets:
            return self._session.lose("server closed the connection")
        return self._session.receive(octets)

    async def _flush(self) -> bool:
        """Whether the connection still takes data. What a server said before it closed is still to be read."""
        if octets := self._session.take_commands():
            self._writer.write(octets)
        try:
            await self._writer.drain()
        except OSError:
            return False
        return True


async def _connect(
    addresses: Sequence[Path | HostPort],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reason = "no address"
    for address in addresses:
        try:
            if isinstance(address, Path):
                return await asyncio.open_unix_connection(address)
            return await asyncio.open_connection(address.host, address.port)
        except OSError as error:
            reason = f"cannot connect to {address}: {_reason(error)}"
    raise Unavailable(reason)


def _reason(error: OSError) -> str:
    # asyncio's own texts repeat the address; of an error of the look-up the number is negative.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
