"""Any number of inquiries carried to their end over the same few sockets: what is sent when, and who hears what.

One coroutine does it all. It sends as fast as answers come, so that a fleet's burst drowns neither itself nor a server
behind many of the addresses, and lets others have their turn after every batch.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Literal

from protocol.address import Address
from protocol.errors import Discard
from protocol.inquiry import Inquiry
from protocol.sockets import Sockets
from protocol.turns import Turn, parts

_BATCH = 128
"""Datagrams between two looks at what came in: the answers fit the smallest receive buffer."""

_WINDOW = 64
"""First questions, of a target each, that are under way at once: 256 datagrams, which one busy server's default
receive buffer holds, if all targets should be behind it."""

_CLEARING = 0.005
"""Seconds after which an unanswered target makes room for the next: 12,800 silent ones a second can be asked."""


Kind = Literal["sent", "believed", "ignored", "unreachable"]


@dataclass(frozen=True, slots=True)
class Event:
    """One datagram seen, for people who look at an exchange: `at` in seconds of the monotonic clock."""

    at: float
    kind: Kind
    address: Address
    datagram: bytes
    reason: Discard | str | None = None


Trace = Callable[[Event], None]


class Exchange:
    """Inquiries under way. To be closed."""

    def __init__(self, trace: Trace | None = None, sockets: type[Sockets] = Sockets) -> None:
        self.strays: Counter[Discard] = Counter()
        """What came from addresses that were not asked, or to inquiries that had ended."""
        self._loop = asyncio.get_running_loop()
        self._trace = trace
        self._sockets = sockets(self._receive, self._undelivered)
        self._fresh: deque[Inquiry] = deque()
        self._recent: deque[tuple[float, Inquiry]] = deque()
        """Who was asked for the first time, and when: the latest of them."""
        self._asked: dict[Address, list[Inquiry]] = {}
        self._taken: dict[Address, set[bytes]] = {}
        """The identifiers at addresses that several inquiries have asked."""
        self._timers: list[tuple[float, int, Inquiry]] = []
        self._order = count()
        """Tells timers of the same moment apart."""
        self._waiting: dict[Inquiry, asyncio.Future[None]] = {}
        self._under_way = 0
        self._awaited = 0

    def close(self) -> None:
        """Close the sockets; nothing is left behind, and nothing for the garbage collector either.

        Whoever still waits for the end of an inquiry is cancelled.
        """
        for future in self._waiting.values():
            future.cancel()
        self._sockets.close()
        # The two know each other, and the exporter's collector would let thousands of such pairs gather.
        del self._sockets

    def change_port(self) -> None:
        """Ask from another port from here on."""
        self._sockets.close()

    async def run(self, inquiries: Sequence[Inquiry], awaited: int = 0) -> None:
        """Carry inquiries, and no others, to their end, each at the latest at its deadline.

        It waits for as many more as are `awaited`, each to `join` or not.
        """
        self.strays.clear()
        self._awaited = awaited
        try:
            turn = Turn()
            for part in parts(inquiries):
                for inquiry in part:
                    self._add(inquiry)
                if turn.over:
                    await turn.others()
            await self.carry()
        finally:
            # Also when it is cancelled: the next run has nothing to do with what this one leaves.
            self._asked, self._taken, self._timers = {}, {}, []
            self._fresh, self._recent, self._under_way = deque(), deque(), 0

    def join(self, inquiry: Inquiry | None) -> None:
        """One that was awaited is here; None is one that came to nothing."""
        self._awaited -= 1
        if inquiry:
            self._add(inquiry)
        self._sockets.readable.set()

    def expect(self) -> None:
        """One more is awaited: until it joins, `carry` goes on."""
        self._awaited += 1

    async def end_of(self, inquiry: Inquiry) -> None:
        """Have an inquiry carried to its end along with the others. Cancelled, it is given up."""
        self._waiting[inquiry] = future = self._loop.create_future()
        self.expect()
        self.join(inquiry)
        try:
            if not inquiry.done:
                await future
        finally:
            del self._waiting[inquiry]
            if not inquiry.done:
                inquiry.expire(monotonic())
                self._under_way -= 1

    async def carry(self) -> None:
        """Until every inquiry has ended, and no more is awaited."""
        while self._under_way or self._awaited:
            now = monotonic()
            self._sockets.readable.clear()
            moved = 0
            while moved < _BATCH and (due := self._next_due(now)):
                moved += self._serve(due, now)
            self._sockets.flush()
            moved += self._sockets.drain()
            if moved == 0 and (self._under_way or self._awaited):
                await self._wait()
            else:
                await asyncio.sleep(0)

    def _next_time(self) -> float | None:
        times = []
        if self._timers:
            times.append(self._timers[0][0])
        if self._fresh:
            times.append(self._fresh[0].deadline)
            if self._recent:
                times.append(self._recent[0][0] + _CLEARING)
        return min(times, default=None)

    def _add(self, inquiry: Inquiry) -> None:
        self._fresh.append(inquiry)
        self._under_way += 1
        self._enlist(inquiry)

    def _enlist(self, inquiry: Inquiry) -> None:
        """Let an inquiry hear its address, under identifiers that no other inquiry has, or had, there."""
        asking = self._asked.get(inquiry.address)
        if asking is None:
            inquiry.identify(frozenset())
            self._asked[inquiry.address] = [inquiry]
        else:
            taken = self._taken.setdefault(inquiry.address, set(asking[0].identifiers))
            inquiry.identify(taken)
            taken |= inquiry.identifiers
            self._asked[inquiry.address] = [*(one for one in asking if not one.done), inquiry]
        if inquiry.done:  # no identifiers were left
            self._end(inquiry)

    def _end(self, inquiry: Inquiry) -> None:
        """Take note of one that has just become done."""
        self._under_way -= 1
        if self._waiting and (future := self._waiting.get(inquiry)) and not future.done():
            future.set_result(None)

    def _next_due(self, now: float) -> Inquiry | None:
        while self._timers and self._timers[0][0] <= now:
            due, _, inquiry = heappop(self._timers)
            # One that was put off meanwhile is in here a second time.
            if not inquiry.done and inquiry.due == due:
                return inquiry
        while self._fresh and (self._fresh[0].deadline <= now or self._has_room(now)):
            inquiry = self._fresh.popleft()
            if not inquiry.done:
                self._recent.append((now, inquiry))
                return inquiry
        return None

    def _has_room(self, now: float) -> bool:
        """Whether one more target may be asked: as fast as answers come, or as `_CLEARING` lets silent ones go."""
        recent = self._recent
        while recent and (recent[0][1].done or recent[0][0] + _CLEARING <= now):
            recent.popleft()
        return len(recent) < _WINDOW

    def _schedule(self, inquiry: Inquiry) -> None:
        heappush(self._timers, (inquiry.due, next(self._order), inquiry))

    def _serve(self, inquiry: Inquiry, now: float) -> int:
        """Send what an inquiry has to send, or end it; returns what that counts for, in datagrams."""
        if now >= inquiry.deadline:
            inquiry.expire(now)
            self._end(inquiry)
            return 1
        if inquiry.turn():
            self._enlist(inquiry)
            if inquiry.done:
                return 1
        address = inquiry.address
        datagrams = inquiry.transmit(now)
        sent = self._send(datagrams, address, now)
        inquiry.withdraw(len(datagrams) - sent)
        # Else the system has said that nobody is there.
        if not inquiry.done and inquiry.address == address:
            self._schedule(inquiry)
        return sent

    def _send(self, datagrams: Sequence[bytes], address: Address, now: float) -> int:
        if self._trace is None:
            return self._sockets.send(datagrams, address)
        for sent, datagram in enumerate(datagrams):  # one by one, so that the story has its order
            if not self._sockets.send((datagram,), address):
                return sent
            self._trace(Event(now, "sent", address, datagram))
        return len(datagrams)

    def _receive(self, arrived: Iterable[tuple[bytes, Address]]) -> None:
        now = monotonic()
        for datagram, address in arrived:
            reason: Discard | None = Discard.SOURCE
            asking = self._asked.get(address)
            if asking is None:
                self.strays[Discard.SOURCE] += 1
            else:
                inquiry = asking[0]
                if len(asking) > 1:  # they have different tokens, and identifiers of their own
                    inquiry = next((one for one in asking if one.awaits(datagram)), inquiry)
                was_done = inquiry.done
                reason = inquiry.receive(datagram, now)
                if was_done:
                    if reason:  # what it discarded may be reckoned up by now
                        self.strays[reason] += 1
                elif inquiry.done:
                    if len(asking) > 1:
                        asking.remove(inquiry)
                    self._end(inquiry)
            if self._trace:
                kind: Kind = "ignored" if reason else "believed"
                self._trace(Event(now, kind, address, datagram, reason))

    def _undelivered(self, datagram: bytes, address: Address, failure: OSError) -> None:
        for inquiry in tuple(self._asked.get(address, ())):
            if not inquiry.done and inquiry.address == address:
                self._report_unreachable(inquiry, failure, datagram)

    def _report_unreachable(self, inquiry: Inquiry, failure: OSError, datagram: bytes) -> None:
        now = monotonic()
        if self._trace:
            text = failure.strerror
            self._trace(Event(now, "unreachable", inquiry.address, datagram, text))
        inquiry.unreachable(f"{failure.strerror}", now)
        if inquiry.done:
            self._end(inquiry)
        else:
            self._enlist(inquiry)
            self._schedule(inquiry)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_time()):
                await self._sockets.readable.wait()
