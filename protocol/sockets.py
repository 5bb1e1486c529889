"""UDP sockets for asking: one for each address family, however many servers are asked over it.

They are not connected, so a few serve ten thousand servers. Linux reports the ICMP errors of all of them through a
socket's error queue (ip(7), IP_RECVERR), with the address that each is about: a closed port is told from silence
at once, as it would be on a connected socket.
"""

import asyncio
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence

from protocol.address import Address

_RECEIVE_BUFFER = 1 << 22
_LONGEST = 2048
"""Bytes taken from one datagram: more than any dialect's, so that one too long is seen to be."""

_AT_ONCE = 256
"""Datagrams taken in before others have their turn."""

_RECEIVE_ERRORS = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),  # IP_RECVERR
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),  # IPV6_RECVERR
}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err; its first member is the errno."""

Receive = Callable[[Iterable[tuple[bytes, Address]]], None]
"""Told of datagrams that came in together, and where from."""

Undelivered = Callable[[bytes, Address, OSError], None]
"""Told of a datagram that the network could not deliver, where it went, and why."""


class Sockets:
    """Opened when they are needed; to be closed. `readable` is set when there is something to `drain`."""

    def __init__(self, receive: Receive, undelivered: Undelivered) -> None:
        self.readable = asyncio.Event()
        self._receive = receive
        self._undelivered = undelivered
        self._loop = asyncio.get_running_loop()
        self._opened: dict[socket.AddressFamily, socket.socket] = {}

    def close(self) -> None:
        for opened in self._opened.values():
            self._loop.remove_reader(opened)
            opened.close()
        self._opened.clear()

    def send(self, datagrams: Sequence[bytes], address: Address) -> int:
        """Hand datagrams to the system, now or in `flush`; returns how many it took.

        Where one cannot go, `undelivered` is told, and the others do not go either.
        """
        try:
            opened = self._socket(address)
        except OSError as error:
            self._undelivered(datagrams[0], address, error)
            return 0
        for sent, datagram in enumerate(datagrams):
            if not self._send(opened, datagram, address):
                return sent
        return len(datagrams)

    def _send(self, opened: socket.socket, datagram: bytes, address: Address) -> bool:
        while True:
            try:
                opened.sendto(datagram, address)
            except BlockingIOError:
                return True  # the send buffer is full: as good as lost on the way, and sent again like that
            except OSError as error:
                # It may be an older error: then it is in the queue, and this goes again if it is about another address.
                reported = self._drain_errors(opened)
                if not reported:
                    self._undelivered(datagram, address, error)
                if not reported or address in reported:
                    return False
            else:
                return True

    def flush(self) -> None:
        """Send what `send` has kept for later."""

    def drain(self) -> int:
        """Take in what has come, up to a limit; returns the number of datagrams."""
        return sum(map(self._drain, tuple(self._opened.values())))

    def _socket(self, address: Address) -> socket.socket:
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        if family not in self._opened:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            self._opened[family] = opened
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            if sys.platform == "linux":
                opened.setsockopt(*_RECEIVE_ERRORS[family], 1)
            self._loop.add_reader(opened, self.readable.set)
        return self._opened[family]

    def _drain(self, opened: socket.socket) -> int:
        for taken in range(_AT_ONCE):
            try:
                arrived = opened.recvfrom(_LONGEST)
            except (BlockingIOError, InterruptedError):
                return taken
            except OSError:
                self._drain_errors(opened)
            else:
                self._receive((arrived,))
        return _AT_ONCE

    def _drain_errors(self, opened: socket.socket) -> set[Address]:
        """Take in the ICMP errors that the system has queued; returns the addresses that they are about."""
        reported: set[Address] = set()
        if sys.platform != "linux":
            return reported
        for _ in range(_AT_ONCE):
            try:
                datagram, ancillary, _, address = opened.recvmsg(
                    _LONGEST, 512, socket.MSG_ERRQUEUE
                )
            except OSError:
                break
            reported.add(address)
            self._undelivered(datagram, address, _error_in(ancillary))
        return reported


def _error_in(ancillary: Iterable[tuple[int, int, bytes]]) -> OSError:
    for _, _, content in ancillary:
        if len(content) >= _EXTENDED_ERROR.size:
            number = _EXTENDED_ERROR.unpack_from(content)[0]
            return OSError(number, os.strerror(number))
    return OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
