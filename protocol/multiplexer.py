"""Any number of queries carried to their end over the same few sockets: what is sent when, and who hears what.

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
from protocol.errors import DiscardReason
from protocol.query import Query
from protocol.sockets import Sockets
from protocol.timeslice import Turn, parts

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
    reason: DiscardReason | str | None = None


Trace = Callable[[Event], None]


class Multiplexer:
    """Queries under way. To be closed."""

    def __init__(self, trace: Trace | None = None, sockets: type[Sockets] = Sockets) -> None:
        self.strays: Counter[DiscardReason] = Counter()
        """What came from addresses that were not asked, or to queries that had ended."""
        self._loop = asyncio.get_running_loop()
        self._trace = trace
        self._sockets = sockets(self._receive, self._undelivered)
        self._fresh: deque[Query] = deque()
        self._recent: deque[tuple[float, Query]] = deque()
        """Who was asked for the first time, and when: the latest of them."""
        self._asked: dict[Address, list[Query]] = {}
        self._taken: dict[Address, set[bytes]] = {}
        """The identifiers at addresses that several queries have asked."""
        self._timers: list[tuple[float, int, Query]] = []
        self._order = count()
        """Tells timers of the same moment apart."""
        self._waiting: dict[Query, asyncio.Future[None]] = {}
        self._under_way = 0
        self._awaited = 0

    def close(self) -> None:
        """Close the sockets; nothing is left behind, and nothing for the garbage collector either.

        Whoever still waits for the end of a query is cancelled.
        """
        for future in self._waiting.values():
            future.cancel()
        self._sockets.close()
        # The two know each other, and the exporter's collector would let thousands of such pairs gather.
        del self._sockets

    def change_port(self) -> None:
        """Ask from another port from here on."""
        self._sockets.close()

    async def run(self, queries: Sequence[Query], awaited: int = 0) -> None:
        """Carry queries, and no others, to their end, each at the latest at its deadline.

        It waits for as many more as are `awaited`, each to `join` or not.
        """
        self.strays.clear()
        self._awaited = awaited
        try:
            turn = Turn()
            for part in parts(queries):
                for query in part:
                    self._add(query)
                if turn.over:
                    await turn.others()
            await self.carry()
        finally:
            # Also when it is cancelled: the next run has nothing to do with what this one leaves.
            self._asked, self._taken, self._timers = {}, {}, []
            self._fresh, self._recent, self._under_way = deque(), deque(), 0

    def join(self, query: Query | None) -> None:
        """One that was awaited is here; None is one that came to nothing."""
        self._awaited -= 1
        if query:
            self._add(query)
        self._sockets.readable.set()

    def expect(self) -> None:
        """One more is awaited: until it joins, `carry` goes on."""
        self._awaited += 1

    async def end_of(self, query: Query) -> None:
        """Have a query carried to its end along with the others. Cancelled, it is given up."""
        self._waiting[query] = future = self._loop.create_future()
        self.expect()
        self.join(query)
        try:
            if not query.done:
                await future
        finally:
            del self._waiting[query]
            if not query.done:
                query.expire(monotonic())
                self._under_way -= 1

    async def carry(self) -> None:
        """Until every query has ended, and no more is awaited."""
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

    def _add(self, query: Query) -> None:
        self._fresh.append(query)
        self._under_way += 1
        self._enlist(query)

    def _enlist(self, query: Query) -> None:
        """Let a query hear its address, under identifiers that no other query has, or had, there."""
        asking = self._asked.get(query.address)
        if asking is None:
            query.identify(frozenset())
            self._asked[query.address] = [query]
        else:
            taken = self._taken.setdefault(query.address, set(asking[0].identifiers))
            query.identify(taken)
            taken |= query.identifiers
            self._asked[query.address] = [*(one for one in asking if not one.done), query]
        if query.done:  # no identifiers were left
            self._end(query)

    def _end(self, query: Query) -> None:
        """Take note of one that has just become done."""
        self._under_way -= 1
        if self._waiting and (future := self._waiting.get(query)) and not future.done():
            future.set_result(None)

    def _next_due(self, now: float) -> Query | None:
        while self._timers and self._timers[0][0] <= now:
            due, _, query = heappop(self._timers)
            # One that was put off meanwhile is in here a second time.
            if not query.done and query.due == due:
                return query
        while self._fresh and (self._fresh[0].deadline <= now or self._has_room(now)):
            query = self._fresh.popleft()
            if not query.done:
                self._recent.append((now, query))
                return query
        return None

    def _has_room(self, now: float) -> bool:
        """Whether one more target may be asked: as fast as answers come, or as `_CLEARING` lets silent ones go."""
        recent = self._recent
        while recent and (recent[0][1].done or recent[0][0] + _CLEARING <= now):
            recent.popleft()
        return len(recent) < _WINDOW

    def _schedule(self, query: Query) -> None:
        heappush(self._timers, (query.due, next(self._order), query))

    def _serve(self, query: Query, now: float) -> int:
        """Send what a query has to send, or end it; returns what that counts for, in datagrams."""
        if now >= query.deadline:
            query.expire(now)
            self._end(query)
            return 1
        if query.turn():
            self._enlist(query)
            if query.done:
                return 1
        address = query.address
        datagrams = query.transmit(now)
        sent = self._send(datagrams, address, now)
        query.withdraw(len(datagrams) - sent)
        # Else the system has said that nobody is there.
        if not query.done and query.address == address:
            self._schedule(query)
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
            reason: DiscardReason | None = DiscardReason.SOURCE
            asking = self._asked.get(address)
            if asking is None:
                self.strays[DiscardReason.SOURCE] += 1
            else:
                query = asking[0]
                if len(asking) > 1:  # they have different tokens, and identifiers of their own
                    query = next((one for one in asking if one.awaits(datagram)), query)
                was_done = query.done
                reason = query.receive(datagram, now)
                if was_done:
                    if reason:  # what it discarded may be reckoned up by now
                        self.strays[reason] += 1
                elif query.done:
                    if len(asking) > 1:
                        asking.remove(query)
                    self._end(query)
            if self._trace:
                kind: Kind = "ignored" if reason else "believed"
                self._trace(Event(now, kind, address, datagram, reason))

    def _undelivered(self, datagram: bytes, address: Address, failure: OSError) -> None:
        for query in tuple(self._asked.get(address, ())):
            if not query.done and query.address == address:
                self._report_unreachable(query, failure, datagram)

    def _report_unreachable(self, query: Query, failure: OSError, datagram: bytes) -> None:
        now = monotonic()
        if self._trace:
            text = failure.strerror
            self._trace(Event(now, "unreachable", query.address, datagram, text))
        query.unreachable(f"{failure.strerror}", now)
        if query.done:
            self._end(query)
        else:
            self._enlist(query)
            self._schedule(query)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_time()):
                await self._sockets.readable.wait()
