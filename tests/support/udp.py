"""A UDP socket that does whatever a test wants with what it hears."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

Source = tuple[str, int]
Hear = Callable[[bytes, Source], Iterable[tuple[bytes, Source]]]
"""Takes a datagram and its source; returns the datagrams to send, and where to."""


@asynccontextmanager
async def hearing(hear: Hear) -> AsyncIterator[socket.socket]:
    """A socket on a free port of 127.0.0.1, served until the context is left."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.0.0.1", 0))

        def receive() -> None:
            for datagram, where in hear(*opened.recvfrom(2048)):
                opened.sendto(datagram, where)

        asyncio.get_running_loop().add_reader(opened, receive)
        try:
            yield opened
        finally:
            asyncio.get_running_loop().remove_reader(opened)


@asynccontextmanager
async def lying(lie: Callable[[bytes], Iterable[bytes]]) -> AsyncIterator[int]:
    """A server that answers a request with whatever `lie` returns; yields its port."""
    async with hearing(lambda datagram, source: [(d, source) for d in lie(datagram)]) as opened:
        yield opened.getsockname()[1]
