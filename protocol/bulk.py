"""UDP sockets for asking thousands of servers: the same sockets, a batch of datagrams in each system call."""

import socket
from collections import defaultdict

from protocol.address import Address
from protocol.batch import Batch, address_of, name_of
from protocol.sockets import Receive, Sockets, Undelivered

_COUNT = 64
"""Datagrams in a system call, at most."""

_AT_ONCE = 256
"""Datagrams taken in before others have their turn."""

_SIZE = 72
"""Bytes taken from one datagram: more than any dialect's 64, so that one too long is seen to be."""


class BulkSockets(Sockets):
    """Sockets whose datagrams go out together, at the latest in `flush`, and come in together."""

    def __init__(self, receive: Receive, undelivered: Undelivered) -> None:
        super().__init__(receive, undelivered)
        self._inboxes: dict[socket.socket, Batch] = {}
        self._outboxes: dict[tuple[int, int], Batch] = {}
        """By the lengths of their addresses and of their datagrams."""
        self._kept: defaultdict[tuple[int, int], list[tuple[bytes, Address]]] = defaultdict(list)

    def send(self, datagram: bytes, address: Address) -> bool:
        kept = self._kept[len(address), len(datagram)]
        kept.append((datagram, address))
        if len(kept) == _COUNT:
            self.flush()
        return True

    def flush(self) -> None:
        for form, kept in self._kept.items():
            if kept:
                self._kept[form] = []
                self._send_all(form, kept)

    def _send_all(self, form: tuple[int, int], kept: list[tuple[bytes, Address]]) -> None:
        try:
            opened = self._socket(kept[0][1])
        except OSError as error:
            for datagram, address in kept:
                self._undelivered(datagram, address, error)
            return
        if form not in self._outboxes:
            self._outboxes[form] = Batch(opened.family, _COUNT, form[1])
        outbox = self._outboxes[form]
        datagrams, addresses = zip(*kept, strict=True)
        _put(outbox.octets, b"".join(datagrams))
        _put(outbox.names, b"".join(map(name_of, addresses)))
        sent = 0
        while sent < len(kept):
            try:
                sent += outbox.send(opened, sent, len(kept) - sent)
            except BlockingIOError:
                return  # the send buffer is full: as good as lost on the way, and sent again like that
            except OSError:
                # About this datagram, or an older one: alone it goes, or it is told why it cannot.
                super().send(*kept[sent])
                sent += 1

    def _drain(self, opened: socket.socket) -> int:
        if opened not in self._inboxes:
            self._inboxes[opened] = Batch(opened.family, _COUNT, _SIZE)
        inbox = self._inboxes[opened]
        taken = 0
        while taken < _AT_ONCE:
            try:
                count = inbox.receive(opened)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self._drain_errors(opened)
                continue
            self._hand_over(inbox, count)
            taken += count
            if count < _COUNT:
                break
        return taken

    def _hand_over(self, inbox: Batch, count: int) -> None:
        receive, width = self._receive, inbox.name_size
        octets, names = bytes(inbox.octets), bytes(inbox.names)
        for number, length in enumerate(inbox.lengths[:count].tolist()):
            start, name = number * _SIZE, number * width
            receive(octets[start : start + length], address_of(names[name : name + width]))


def _put(memory: bytearray, octets: bytes) -> None:
    """Write at the beginning of memory whose place the system knows: it must not move."""
    memoryview(memory)[: len(octets)] = octets
