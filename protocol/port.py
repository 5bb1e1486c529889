"""A UDP socket, through which datagrams move one by one or in batches (Linux), and the errors about them."""

import os
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.address import Address
from protocol.query import Outgoing

if sys.platform == "linux":
    from protocol.mmsg import MessageBatch, pack_sockaddr, unpack_sockaddr

LONGEST = 72
"""Bytes read of a datagram: more than the 64 of any dialect, to recognise datagrams that are too long."""

_BATCH = 64
"""Maximum number of datagrams in a system call."""

_ERRORS = 256
"""Maximum number of errors received in one call."""

_ERROR_OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),  # IP_RECVERR
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),  # IPV6_RECVERR
}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, padding, info, data."""
_FROM_NETWORK = {2, 3}
"""Origins: ICMP and ICMPv6."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Undelivered datagram: it was not sent, or the network reported it as undeliverable (ICMP).

    For an ICMP error `datagram` is the part that the error quotes.
    """

    datagram: bytes = field(repr=False)  # a request: the token is in it
    address: Address
    error: OSError
    was_sent: bool = False


class Port:
    """Socket that sends and receives one datagram per system call, on every platform."""

    batch = 1
    """Maximum number of datagrams received in a system call."""

    def __init__(self, opened: socket.socket) -> None:
        self.opened = opened
        if sys.platform == "linux":
            opened.setsockopt(*_ERROR_OPTIONS[opened.family], 1)

    def send(self, outgoing: Sequence[Outgoing], first: int) -> tuple[int, bool]:
        """Sends from index `first`; returns how many, and whether an error ended it, which is not reported again.

        All datagrams have the same length. Raises `OSError` if the first could not be sent.
        """
        self.opened.sendto(*outgoing[first])
        return 1, False

    def receive(self) -> list[tuple[bytes, Address]]:
        """Raises `OSError`, and `BlockingIOError` if nothing is waiting."""
        return [self.opened.recvfrom(LONGEST)]

    def receive_errors(self, undelivered: list[Undelivered]) -> bool:
        """Receives the queued ICMP errors; returns whether any error was queued."""
        received = 0
        while sys.platform == "linux" and received < _ERRORS:
            try:
                datagram, controls, _, address = self.opened.recvmsg(
                    2048, 512, socket.MSG_ERRQUEUE
                )
            except OSError:
                break
            received += 1
            for _, _, content in controls:
                number, origin, *_ = _EXTENDED_ERROR.unpack_from(content)
                if origin in _FROM_NETWORK:
                    error = OSError(number, os.strerror(number))
                    undelivered.append(Undelivered(datagram, address, error, was_sent=True))
        return received > 0


class BatchPort(Port):
    """Sends and receives many datagrams per system call."""

    batch = _BATCH

    def __init__(self, opened: socket.socket) -> None:
        super().__init__(opened)
        self._inbox = MessageBatch(opened.family, _BATCH, LONGEST)
        self._outboxes: dict[int, MessageBatch] = {}
        """Batches to send, by the length of their datagrams."""

    def send(self, outgoing: Sequence[Outgoing], first: int) -> tuple[int, bool]:
        batch = outgoing[first : first + _BATCH]
        length = len(batch[0][0])
        outbox = self._outboxes.get(length)
        if outbox is None:
            outbox = MessageBatch(self.opened.family, _BATCH, length)
            self._outboxes[length] = outbox
        outbox.put(b"".join([datagram for datagram, _ in batch]))
        outbox.address(b"".join([pack_sockaddr(address) for _, address in batch]))
        sent = outbox.send(self.opened, 0, len(batch))
        return sent, sent < len(batch)

    def receive(self) -> list[tuple[bytes, Address]]:
        inbox = self._inbox
        count = inbox.receive(self.opened)
        octets, sockaddrs = bytes(inbox.octets), bytes(inbox.sockaddrs)
        size, width = inbox.size, inbox.sockaddr_size
        return [
            (
                octets[number * size : number * size + length],
                unpack_sockaddr(sockaddrs[number * width : (number + 1) * width]),
            )
            for number, length in enumerate(inbox.lengths[:count].tolist())
        ]
