"""The sockets under inquiries: one for each address family, however many targets are asked.

A few unconnected sockets serve ten thousand targets. Linux reports the ICMP errors of all of them through the
socket's error queue (ip(7), IP_RECVERR), with the address that each is about, so a closed port is told from
silence at once, as it would be on a connected socket.
"""

import asyncio
import errno
import math
import os
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal

from protocol.address import Address
from protocol.errors import Discard
from protocol.inquiry import Inquiry
from protocol.turns import in_turns

_BATCH = 64
"""Datagrams between two looks at what came in: the answers fit the smallest receive buffer."""

_RECEIVE_BUFFER = 1 << 22
_LONGEST = 2048
"""Bytes taken from one datagram: more than any dialect's, so that one too long is seen to be."""

_RECEIVE_ERRORS = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),  # IP_RECVERR
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),  # IPV6_RECVERR
}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err; its first member is the errno."""


Kind = Literal["sent", "believed", "ignored", "unreachable"]


@dataclass(frozen=True, slots=True)
class Event:
    """One datagram seen, for people who look at an exchange: `at` in seconds of the loop's clock."""

    at: float
    kind: Kind
    address: Address
    datagram: bytes
    reason: Discard | str | None = None


Trace = Callable[[Event], None]


class Exchange:
    """Open sockets, and the one coroutine at a time that uses them. To be closed."""

    def __init__(self, trace: Trace | None = None) -> None:
        self.strays: Counter[Discard] = Counter()
        """What came from addresses that were not asked, in the latest run."""
        self._loop = asyncio.get_running_loop()
        self._trace = trace
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._readable = asyncio.Event()
        self._everyone: list[Inquiry] = []
        self._fresh: deque[Inquiry] = deque()
        self._asked: dict[Address, list[Inquiry]] = {}
        self._identifiers: dict[Address, set[int]] = {}
        self._timers: list[tuple[float, int, Inquiry]] = []
        self._order = count()
        """Tells timers of the same moment apart."""
        self._under_way = 0
        self._awaited = 0

    def close(self) -> None:
        """Close the sockets; nothing is left behind."""
        for opened in self._sockets.values():
            self._loop.remove_reader(opened)
            opened.close()
        self._sockets.clear()

    async def run(
        self,
        inquiries: Sequence[Inquiry],
        deadline: float,
        prepared: Sequence[Coroutine[Any, Any, Inquiry | None]] = (),
    ) -> None:
        """Carry all inquiries to their end, at the latest at `deadline`, a time of the loop's clock.

        Those that are being `prepared` join when they are, by the deadline; None is one that comes to nothing.
        """
        self.strays.clear()
        self._asked, self._identifiers, self._timers = {}, {}, []
        self._everyone, self._fresh, self._under_way = [], deque(), 0
        self._awaited = len(prepared)
        async with asyncio.TaskGroup() as group:
            for one in prepared:
                group.create_task(self._join(one))
            async for inquiry in in_turns(inquiries):
                self._add(inquiry)
            await self._carry(deadline)
        async for inquiry in in_turns(self._everyone):
            if not inquiry.done:
                inquiry.expire(self._loop.time())
        self._everyone, self._asked, self._timers = [], {}, []

    async def _carry(self, deadline: float) -> None:
        while (self._under_way or self._awaited) and (now := self._loop.time()) < deadline:
            self._readable.clear()
            moved = 0
            while moved < _BATCH and (due := self._next_due(now)):
                moved += self._transmit(due, now, deadline)
            for opened in tuple(self._sockets.values()):
                moved += self._drain(opened)
            if moved:
                await asyncio.sleep(0)
            else:
                await self._wait(min(self._timers[0][0] if self._timers else deadline, deadline))

    async def _join(self, prepared: Coroutine[Any, Any, Inquiry | None]) -> None:
        inquiry = await prepared
        self._awaited -= 1
        if inquiry:
            self._add(inquiry)
        self._readable.set()

    def _add(self, inquiry: Inquiry) -> None:
        self._everyone.append(inquiry)
        self._fresh.append(inquiry)
        self._under_way += 1
        self._enlist(inquiry)

    def _enlist(self, inquiry: Inquiry) -> None:
        """Let an inquiry hear its address, under identifiers that no other inquiry has there."""
        taken = self._identifiers.setdefault(inquiry.address, set())
        taken |= inquiry.identify(taken)
        self._asked.setdefault(inquiry.address, []).append(inquiry)
        self._under_way -= inquiry.done  # no identifiers were left

    def _next_due(self, now: float) -> Inquiry | None:
        while self._timers and self._timers[0][0] <= now:
            due, _, inquiry = heappop(self._timers)
            # One that was put off meanwhile is in here a second time.
            if not inquiry.done and inquiry.due == due:
                return inquiry
        while self._fresh:
            inquiry = self._fresh.popleft()
            if not inquiry.done:
                return inquiry
        return None

    def _schedule(self, inquiry: Inquiry) -> None:
        if inquiry.due < math.inf:
            heappush(self._timers, (inquiry.due, next(self._order), inquiry))

    def _transmit(self, inquiry: Inquiry, now: float, deadline: float) -> int:
        """Send what an inquiry has to send; returns the number of datagrams."""
        sent = 0
        if inquiry.turn():
            self._enlist(inquiry)
            if inquiry.done:
                return 0
        address = inquiry.address
        for datagram in inquiry.transmit(now, deadline):
            if failure := self._send(datagram, address):
                self._report_unreachable(inquiry, failure, datagram)
                return sent
            sent += 1
            if self._trace:
                self._trace(Event(now, "sent", address, datagram))
            if inquiry.done or inquiry.address != address:
                return sent  # the system has reported an earlier one as undeliverable
        self._schedule(inquiry)
        return sent

    def _send(self, datagram: bytes, address: Address) -> OSError | None:
        """Hand a datagram to the system; returns why it cannot go there, if it cannot."""
        try:
            opened = self._socket(address)
        except OSError as error:
            return error
        for _ in range(3):
            try:
                opened.sendto(datagram, address)
            except BlockingIOError:
                return None  # the send buffer is full: as good as lost on the way, and sent again like that
            except OSError as error:
                # It may be an older error, about another address: then it is in the queue, and this goes again.
                if not self._drain_errors(opened):
                    return error
            else:
                return None
        return None

    def _socket(self, address: Address) -> socket.socket:
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        if family not in self._sockets:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            self._sockets[family] = opened
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            if sys.platform == "linux":
                opened.setsockopt(*_RECEIVE_ERRORS[family], 1)
            self._loop.add_reader(opened, self._readable.set)
        return self._sockets[family]

    def _drain(self, opened: socket.socket) -> int:
        """Take in what has come, up to a few batches; returns the number of datagrams."""
        for taken in range(4 * _BATCH):
            try:
                datagram, address = opened.recvfrom(_LONGEST)
            except (BlockingIOError, InterruptedError):
                return taken
            except OSError:
                self._drain_errors(opened)
            else:
                self._receive(datagram, address)
        return 4 * _BATCH

    def _receive(self, datagram: bytes, address: Address) -> None:
        now = self._loop.time()
        asking = self._asked.get(address)
        if asking is None:
            reason: Discard | None = Discard.SOURCE
            self.strays[Discard.SOURCE] += 1
        else:
            # Mostly there is one. Several have different tokens for one address, and identifiers of their own.
            inquiry = asking[0]
            if len(asking) > 1:
                inquiry = next((one for one in asking if one.awaits(datagram)), inquiry)
            was_done = inquiry.done
            reason = inquiry.receive(datagram, now)
            if inquiry.done and not was_done:
                self._under_way -= 1
                if len(asking) > 1:
                    asking.remove(inquiry)
        if self._trace:
            kind: Kind = "ignored" if reason else "believed"
            self._trace(Event(now, kind, address, datagram, reason))

    def _drain_errors(self, opened: socket.socket) -> int:
        """Take in the ICMP errors that the system has queued; returns how many there were."""
        if sys.platform != "linux":
            return 0
        for taken in range(4 * _BATCH):
            try:
                datagram, ancillary, _, address = opened.recvmsg(
                    _LONGEST, 512, socket.MSG_ERRQUEUE
                )
            except OSError:
                return taken
            failure = OSError(*_extended_error(ancillary))
            for inquiry in tuple(self._asked.get(address, ())):
                if not inquiry.done and inquiry.address == address:
                    self._report_unreachable(inquiry, failure, datagram)
        return 4 * _BATCH

    def _report_unreachable(self, inquiry: Inquiry, failure: OSError, datagram: bytes) -> None:
        now = self._loop.time()
        if self._trace:
            text = failure.strerror
            self._trace(Event(now, "unreachable", inquiry.address, datagram, text))
        inquiry.unreachable(f"{failure.strerror}", now)
        if inquiry.done:
            self._under_way -= 1
        else:
            self._enlist(inquiry)
            self._schedule(inquiry)

    async def _wait(self, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._readable.wait()


def _extended_error(ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int, str]:
    for _, _, content in ancillary:
        if len(content) >= _EXTENDED_ERROR.size:
            number = _EXTENDED_ERROR.unpack_from(content)[0]
            return number, os.strerror(number)
    return errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)
