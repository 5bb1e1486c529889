"""UDP sockets that answer each datagram with the result of a function."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

Source = tuple[str, int]
Handler = Callable[[bytes, Source], Iterable[tuple[bytes, Source]]]
"""Called with a datagram and its source; returns the datagrams to send with their destinations."""


@asynccontextmanager
async def udp_socket(handler: Handler) -> AsyncIterator[socket.socket]:
    """Serves a socket on a free port of 127.0.0.1 until the context is left."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.0.0.1", 0))

        def receive() -> None:
            for datagram, destination in handler(*opened.recvfrom(2048)):
                opened.sendto(datagram, destination)

        asyncio.get_running_loop().add_reader(opened, receive)
        try:
            yield opened
        finally:
            asyncio.get_running_loop().remove_reader(opened)


@asynccontextmanager
async def udp_server(respond: Callable[[bytes], Iterable[bytes]]) -> AsyncIterator[int]:
    """Serves a UDP port that answers each request with what `respond` returns; yields the port."""
    async with udp_socket(
        lambda datagram, source: [(d, source) for d in respond(datagram)]
    ) as opened:
        yield opened.getsockname()[1]
