"""UDP sockets for asking thousands of servers: the same sockets, a batch of datagrams in each system call."""

import socket
from collections.abc import Sequence
from typing import NamedTuple

from protocol.address import Address
from protocol.mmsg import MessageBatch, pack_sockaddr, unpack_sockaddr
from protocol.sockets import Receive, Sockets, Undelivered

_COUNT = 64
"""Datagrams in a system call, at most."""

_AT_ONCE = 256
"""Datagrams taken in before others have their turn."""

_SIZE = 72
"""Bytes taken from one datagram: more than any dialect's 64, so that one too long is seen to be."""


_STARTS = range(0, _COUNT * _SIZE, _SIZE)


class _Kept(NamedTuple):
    """Datagrams of one length to send, and where each goes, as the system writes it."""

    datagrams: list[bytes]
    sockaddrs: list[bytes]


class BulkSockets(Sockets):
    """Sockets whose datagrams go out together, at the latest in `flush`, and come in together."""

    def __init__(self, receive: Receive, undelivered: Undelivered) -> None:
        super().__init__(receive, undelivered)
        self._inboxes: dict[socket.socket, MessageBatch] = {}
        self._outboxes: dict[tuple[int, int], MessageBatch] = {}
        """By the lengths of their addresses and of their datagrams."""
        self._kept: dict[tuple[int, int], _Kept] = {}

    def send(self, datagrams: Sequence[bytes], address: Address) -> int:
        form = len(address), len(datagrams[0])
        kept = self._kept.get(form)
        if kept is None:
            kept = self._kept[form] = _Kept([], [])
        kept.datagrams.extend(datagrams)
        kept.sockaddrs.extend((pack_sockaddr(address),) * len(datagrams))
        return len(datagrams)

    def flush(self) -> None:
        for form, kept in self._kept.items():
            for start in range(0, len(kept.datagrams), _COUNT):
                part = slice(start, start + _COUNT)
                self._send_all(form, kept.datagrams[part], kept.sockaddrs[part])
            kept.datagrams.clear()
            kept.sockaddrs.clear()

    def _send_all(
        self, form: tuple[int, int], datagrams: list[bytes], sockaddrs: list[bytes]
    ) -> None:
        try:
            opened = self._socket(unpack_sockaddr(sockaddrs[0]))
        except OSError as error:
            for datagram, name in zip(datagrams, sockaddrs, strict=True):
                self._undelivered(datagram, unpack_sockaddr(name), error)
            return
        if form not in self._outboxes:
            self._outboxes[form] = MessageBatch(opened.family, _COUNT, form[1])
        outbox = self._outboxes[form]
        outbox.put(b"".join(datagrams))
        outbox.address(b"".join(sockaddrs))
        sent = 0
        while sent < len(datagrams):
            try:
                sent += outbox.send(opened, sent, len(datagrams) - sent)
                if sent < len(datagrams):
                    # What stopped it is not told again: an older error is in the queue, this datagram's comes again.
                    self._drain_errors(opened)
            except BlockingIOError:
                return  # the send buffer is full: as good as lost on the way, and sent again like that
            except OSError:
                # About this datagram, or an older one: alone it goes, or it is told why it cannot.
                self._send(opened, datagrams[sent], unpack_sockaddr(sockaddrs[sent]))
                sent += 1

    def _drain(self, opened: socket.socket) -> int:
        if opened not in self._inboxes:
            self._inboxes[opened] = MessageBatch(opened.family, _COUNT, _SIZE)
        inbox = self._inboxes[opened]
        taken = 0
        while taken < _AT_ONCE:
            try:
                count = inbox.receive(opened)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self._drain_errors(opened)
                taken += 1
                continue
            self._hand_over(inbox, count)
            taken += count
            if count < _COUNT:
                break
        return taken

    def _hand_over(self, inbox: MessageBatch, count: int) -> None:
        octets, sockaddrs, width = bytes(inbox.octets), bytes(inbox.sockaddrs), inbox.sockaddr_size
        datagrams = [
            octets[start : start + length]
            for start, length in zip(_STARTS, inbox.lengths[:count].tolist(), strict=False)
        ]
        senders = [sockaddrs[start : start + width] for start in range(0, count * width, width)]
        self._receive(zip(datagrams, map(unpack_sockaddr, senders), strict=True))
