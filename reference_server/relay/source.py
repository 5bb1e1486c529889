"""The content of a message that is forwarded, read and measured without holding the event loop."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from reference_server.relay.content import Measure, Measurer
from reference_server.relay.loop import received_fields
from reference_server.spool import Spool

_SMALL_BYTES = 64 * 1024
"""Content up to this size is read once and kept in memory while the message waits for a connection."""


class Source:
    """The header fields that this server adds, and a message's content after them."""

    def __init__(self, head: bytes, spool: Spool) -> None:
        self._head = head
        self._spool = spool
        self._small: bytes | None = None
        self.received_fields: int
        """In the message as it was given; set by `measure`."""

    async def measure(self) -> Measure:
        """Reads the content once. Raises `OSError`."""
        if self._spool.size <= _SMALL_BYTES and not self._spool.in_file:
            return self._measure()
        return await asyncio.to_thread(self._measure)

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yields the content, after `measure`. Raises `OSError`."""
        if self._small is not None:
            yield self._small
            return
        yield self._head
        blocks = self._spool.blocks()
        while block := await asyncio.to_thread(_next, blocks):
            yield block

    def _measure(self) -> Measure:
        self.received_fields = received_fields(self._spool.blocks())
        measurer = Measurer()
        for block in self._pieces():
            measurer.add(block)
        return measurer.result()

    def _pieces(self) -> Iterator[bytes]:
        if self._spool.size > _SMALL_BYTES:
            yield self._head
            yield from self._spool.blocks()
        else:
            self._small = self._head + b"".join(self._spool.blocks())
            yield self._small


def _next(blocks: Iterator[bytes]) -> bytes:
    return next(blocks, b"")
