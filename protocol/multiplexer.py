"""Drives any number of queries over a few UDP sockets.

One coroutine sends the due datagrams, receives responses, and yields queries as they finish.
"""

import asyncio
import errno
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf
from time import monotonic

from protocol.address import Address
from protocol.entropy import Entropy
from protocol.errors import SHORTAGES, DiscardReason, InternalError
from protocol.peer import Peer
from protocol.pending import PendingTable
from protocol.port import Undelivered
from protocol.query import Outgoing, Query
from protocol.sockets import Sockets, Transfer
from protocol.template import RequestTemplate
from protocol.trace import Event, Kind, Trace

logger = logging.getLogger(__name__)

_BATCH = 128
"""Datagrams sent between two receive calls: their responses fit the smallest receive buffer."""

_WINDOW = 64
"""First requests, to one target each, in flight: 256 datagrams, which the default receive buffer of one busy server
holds if all targets are on it."""

_CLEARING_S = 0.005
"""Seconds after which an unanswered target leaves the window: up to 12,800 silent ones per second can be queried."""

_DRAWS = 64
"""Attempts to draw identifiers that are free."""

_STALL_S = 0.5
"""Seconds by which the loop must be late to count as stalled."""

_LONG_S = 3600.0
"""Seconds to wait where nothing is due."""

_OVERDUE_S = 0.25
"""Seconds for which a query past its deadline waits for the sockets to be drained."""


class Multiplexer:
    """Queries in progress, and their sockets; must be closed.

    With `lasting` it waits for further queries until it is retired; otherwise it ends with the last query.
    """

    def __init__(self, trace: Trace | None = None, *, lasting: bool = False) -> None:
        self.strays: Counter[DiscardReason] = Counter()
        """Datagrams from addresses that were not queried, or for queries that had ended."""
        self._trace = trace
        self._lasting = lasting
        self.wake = asyncio.Event()
        self.sockets = Sockets(self.wake)
        self.resumes_at = inf
        """Time at which the loop should run next; if it runs much later, it was stalled."""
        self._entropy = Entropy()
        self._pending = PendingTable()
        self.under_way: set[Query] = set()
        """Queries that have not ended."""
        self._waiting: deque[Query] = deque()
        """Queries to be started."""
        self._recent: deque[tuple[float, Query]] = deque()
        """Recently started queries, with their start times."""
        self._timers: list[tuple[float, int, Query]] = []
        self._order = count()
        """Orders timers of the same moment."""
        self._overdue: deque[tuple[float, bool, Query]] = deque()
        """Queries past their deadline, when that was noticed, and whether the loop was stalled then."""
        self._ended: list[Query] = []
        """Queries that have ended since the last were yielded."""

    def close(self) -> None:
        self.sockets.close()

    def retire(self) -> None:
        """Accept no further queries; `finished` ends with the last one in progress."""
        self._lasting = False
        self.wake.set()

    def ask(
        self,
        peer: Peer,
        template: RequestTemplate,
        addresses: tuple[Address, ...],
        attempts: int,
        deadline: float,
    ) -> Query | None:
        """Begins a query; None if its responses could not be distinguished from another's over the same sockets."""
        size, number = template.dialect.request_identifier.size, len(template.entries)
        for _ in range(_DRAWS):
            drawn = self._entropy.octets(size * number)
            identifiers = [drawn[size * n : size * (n + 1)] for n in range(number)]
            if self._pending.has_room(template.dialect, addresses, identifiers):
                break
        else:
            return None
        query = Query(
            template,
            identifiers,
            peer.ordered(addresses),
            rto=peer.round_trip.timeout,
            attempts=attempts,
            deadline=deadline,
            jitter=self._entropy.jitter(),
        )
        self._pending.add(query, identifiers)
        self.under_way.add(query)
        self._waiting.append(query)
        self.wake.set()
        return query

    def adopt(self, query: Query, identifiers: Sequence[bytes]) -> None:
        """Continues a query that was started elsewhere over these sockets."""
        self._pending.add(query, identifiers)
        if not query.done:
            self.under_way.add(query)
            self._schedule(query)

    @property
    def is_stalled(self) -> bool:
        """Whether the loop runs much later than it was to."""
        return monotonic() - self.resumes_at > _STALL_S

    def abandon(self, query: Query) -> None:
        """Send nothing more for a query, and do not report its end."""
        query.done = True
        self.under_way.discard(query)

    async def finished(self) -> AsyncIterator[Query]:
        """Runs the queries and yields each as it finishes. Raises `Shortage`."""
        while self.under_way or self._lasting:
            now = monotonic()
            self.wake.clear()
            outgoing = self._due(now, stalled=self.is_stalled)
            transfer = self.sockets.transfer(outgoing)
            if self._trace:
                self._trace_sent(outgoing, transfer, now)
            now = self.resumes_at = monotonic()
            for undelivered in transfer.undelivered:
                self.report(undelivered, now)
            for datagram, address in transfer.arrived:
                self.receive(datagram, address, now)
            self._expire(now, drained=transfer.drained)
            ended, self._ended = self._ended, []
            for query in ended:
                yield query
            if transfer.arrived or ended or self._overdue or len(outgoing) >= _BATCH:
                await asyncio.sleep(0)
            elif self.under_way or self._lasting:
                await self.wait(self._next_due())

    def _due(self, now: float, *, stalled: bool) -> list[Outgoing]:
        """Returns the datagrams that are due; queries past their deadline are put aside."""
        outgoing: list[Outgoing] = []
        while (
            self._timers
            and self._timers[0][0] <= now
            and len(outgoing) + len(self._overdue) < _BATCH
        ):
            due, _, query = heappop(self._timers)
            if query.done or query.due != due:
                continue  # it was rescheduled
            if query.deadline <= now:
                self._overdue.append((now, stalled, query))
            else:
                outgoing += query.timer(now)
                self._schedule(query)
        while self._waiting and len(outgoing) < _BATCH:
            query = self._waiting[0]
            if query.deadline <= now:
                self._overdue.append((now, stalled, query))
            elif not query.done:
                if not self._has_room(now):
                    break
                self._recent.append((now, query))
                outgoing += query.start(now)
                self._schedule(query)
            self._waiting.popleft()
        return outgoing

    def _trace_sent(self, outgoing: Sequence[Outgoing], transfer: Transfer, now: float) -> None:
        assert self._trace
        failed = [(one.datagram, one.address) for one in transfer.undelivered if not one.was_sent]
        for datagram, address in outgoing:
            if (datagram, address) not in failed:
                self._trace(Event(now, "sent", address, datagram))

    def _has_room(self, now: float) -> bool:
        """Whether one more target may be queried: the window has room when targets answer or time out of it."""
        recent = self._recent
        while recent and (recent[0][1].done or recent[0][0] + _CLEARING_S <= now):
            recent.popleft()
        return len(recent) < _WINDOW

    def receive(self, datagram: bytes, address: Address, now: float) -> None:
        """Handles a received datagram."""
        query = self._pending.find(datagram, address)
        stray = query is None or query.done
        try:
            reason = query.datagram(datagram, address, now) if query else DiscardReason.SOURCE
        except Exception:
            reason = DiscardReason.SOURCE
            if query and not stray:
                logger.exception("Query failed", extra={"address": address[0]})
                query.fail(InternalError("a defect of this program: its log has the traceback"))
        if query and query.done:
            self._note_end(query)
        if stray and reason:
            self.strays[reason] += 1
        if self._trace:
            kind: Kind = "discarded" if reason else "accepted"
            self._trace(Event(now, kind, address, datagram, reason))

    def report(self, undelivered: Undelivered, now: float) -> None:
        """Handles a datagram that was not sent, or that the network reported as undeliverable."""
        datagram, address, error = undelivered.datagram, undelivered.address, undelivered.error
        query = self._pending.find(datagram, address, request=True)
        if query is None or query.done:
            return
        resource = None if undelivered.was_sent else SHORTAGES.get(error.errno or 0)
        if resource:
            query.refused((datagram, address), resource, now)
        elif undelivered.was_sent and not query.has_sent(datagram):
            return
        else:
            final = undelivered.was_sent and error.errno == errno.ECONNREFUSED
            if not undelivered.was_sent:
                query.not_sent(address)
            query.unreachable(address, f"{error.strerror}", now, final=final)
            if self._trace:
                self._trace(Event(now, "unreachable", address, datagram, error.strerror))
        self._note_end(query)
        if not query.done:
            self._schedule(query)

    def _expire(self, now: float, *, drained: bool) -> None:
        """Ends queries past their deadline, once the datagrams that arrived before it have been received."""
        while self._overdue and (drained or now - self._overdue[0][0] > _OVERDUE_S):
            _, stalled, query = self._overdue.popleft()
            if not query.done:
                query.expire(now, stalled=stalled)
                self._note_end(query)

    def _note_end(self, query: Query) -> None:
        if query.done and query in self.under_way:
            self.under_way.remove(query)
            self._ended.append(query)

    def _schedule(self, query: Query) -> None:
        heappush(self._timers, (query.due, next(self._order), query))

    async def wait(self, due: float) -> None:
        """Waits until `due`, or until a socket or a new query needs attention."""
        self.resumes_at = due
        # uvloop's timers have milliseconds, rounded down.
        after = max(due - monotonic(), 0) + 0.001 if due < inf else _LONG_S
        timer = asyncio.get_running_loop().call_later(after, self.wake.set)
        try:
            await self.wake.wait()
        finally:
            timer.cancel()

    def _next_due(self) -> float:
        while self._timers and self._timers[0][2].done:
            heappop(self._timers)
        times = [self._timers[0][0]] if self._timers else []
        if self._waiting and self._recent:
            times.append(self._recent[0][0] + _CLEARING_S)
        return min(times, default=inf)
