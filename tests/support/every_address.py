"""A UDP socket that acts as a server at every address of 127.0.0.0/8, on one port."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

Receive = Callable[[bytes, str, tuple[str, int]], None]
"""Receives a datagram, the address that it was sent to, and the client's socket address."""

_PACKET_INFO = struct.Struct("=I4s4s")
"""struct in_pktinfo: the interface, the local address, the address in the header (ip(7))."""

_IP_PKTINFO = 8


@contextmanager
def every_address() -> Iterator[socket.socket]:
    """Yields the socket, which does not block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        opened.bind(("0.0.0.0", 0))
        yield opened


@contextmanager
def received(opened: socket.socket, receive: Receive) -> Iterator[None]:
    """Calls `receive` in the running event loop for every datagram."""

    def drain() -> None:
        while True:
            try:
                datagram, ancillary, _, client = opened.recvmsg(2048, 64)
            except BlockingIOError:
                return
            address = str(IPv4Address(_PACKET_INFO.unpack(ancillary[0][2])[1]))
            receive(datagram, address, client)

    loop = asyncio.get_running_loop()
    loop.add_reader(opened, drain)
    try:
        yield
    finally:
        loop.remove_reader(opened)


def send(opened: socket.socket, datagram: bytes, source: str, client: tuple[str, int]) -> None:
    """Sends a datagram from the address `source`. Raises `OSError`."""
    packed = _PACKET_INFO.pack(0, IPv4Address(source).packed, bytes(4))
    opened.sendmsg([datagram], [(socket.IPPROTO_IP, _IP_PKTINFO, packed)], 0, client)
