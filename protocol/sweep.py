"""First round over a fleet, in columns: a batch is encoded and checked with a few operations.

A good response is known before it arrives: source address, header, identifier and status "done". The keys of all
responses in flight are in one dict, so one look-up checks all of it, and a whole batch is checked with a few list
operations. The sockets are the multiplexer's. A target with any other response, or none, leaves
the columns: it becomes a `Query` that has sent and received the same, and the multiplexer completes it. So the outcome
equals that of the multiplexer alone; tests/protocol/test_sweep.py compares the two.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic

from protocol.address import Address
from protocol.message import Value, column
from protocol.mmsg import MessageBatch, pack_sockaddr, unpack_sockaddr
from protocol.multiplexer import Multiplexer
from protocol.port import Undelivered
from protocol.query import Outgoing, Query
from protocol.readings import Columns
from protocol.sweep_table import SweepTable
from protocol.timeslice import batches, timeslices
from protocol.vocabulary import Command

_BATCH = 64
"""Datagrams in a system call, at most."""

_WINDOW = 256
"""Requests in flight: the default receive buffer of one busy server holds them if all targets are on it."""

_CLEARING_S = 0.005
"""Seconds after which unanswered requests leave the window: up to 51,200 per second are sent to silent targets."""

LONGEST_WAIT_S = 0.1
"""Seconds after the last request in which responses are still received by columns, at most."""


class Sweep:
    """One round over the targets of a table. `queries` are those that left the columns, by target index."""

    def __init__(
        self,
        table: SweepTable,
        multiplexer: Multiplexer,
        attempts: int,
        deadline: float,
        wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self.queries: dict[int, Query] = {}
        self._table, self._multiplexer, self._width = table, multiplexer, table.width
        self._attempts, self._deadline, self._wait_s = attempts, deadline, wait_s
        self._port = multiplexer.sockets.open(table.family)
        self._total = len(table.peers) * table.width
        self._batch = _BATCH // table.width * table.width
        self._outbox = MessageBatch(table.family, _BATCH, table.dialect.request_length)
        # One byte more than a response, to recognise one that is too long.
        size = table.dialect.response_length + 1
        self._inbox = MessageBatch(table.family, _BATCH, size, together=True)
        self._starts = range(0, len(self._inbox.octets), table.sockaddr_size + size)
        self._next = 0
        """Index of the first unsent request."""
        self._expected: dict[bytes, int] = {}
        """Indexes of the requests in flight, by source address and beginning of a good response."""
        self._identifiers: list[bytes] = []
        self._sent, self._arrived = [0.0] * self._total, [0.0] * self._total
        """Times of requests and responses."""
        self._results: list[bytes | None] = [None] * self._total

    async def run(self) -> Columns:
        """Queries every target once; returns when each has answered or was passed to the multiplexer."""
        multiplexer, sent_at = self._multiplexer, monotonic()
        while (now := monotonic()) < self._deadline:
            multiplexer.resumes_at = now
            multiplexer.wake.clear()
            moved = 0
            if self._next < self._total and self._in_flight(now) < _WINDOW:
                moved, sent_at = self._send(now), now
            moved += self._receive(monotonic())
            if self._next == self._total and not (self._expected and now - sent_at < self._wait_s):
                break
            if moved:
                await asyncio.sleep(0)
            elif self._next < self._total:
                await multiplexer.wait(self._sent[self._window_start(now)] + _CLEARING_S)
            else:
                await multiplexer.wait(min(sent_at + self._wait_s, self._deadline))
        values = await self._values()
        columns = Columns.of(values, self._sent, self._arrived, self.queries.keys())
        await self._observe(columns)
        return columns

    async def _values(self) -> Mapping[Command, Sequence[Value | None]]:
        """Returns the values by command; targets without a valid response to each leave the columns."""
        stalled, found = self._multiplexer.is_stalled, dict[Command, Sequence[Value | None]]()
        async for number, command in timeslices(enumerate(self._table.dialect.reads)):
            results = self._results[number :: self._width]
            found[command] = column(results, command, self._table.dialect)
        for values in found.values():
            if None not in values:
                continue
            async for batch in timeslices(batches(range(len(values)))):
                if not stalled:
                    self._multiplexer.resumes_at = monotonic()
                for target in batch:
                    if values[target] is None:
                        self._leave(target)
        return found

    def _in_flight(self, now: float) -> int:
        return self._results[self._window_start(now) : self._next].count(None)

    def _window_start(self, now: float) -> int:
        """Index of the first request that is not yet given up."""
        return bisect_right(self._sent, now - _CLEARING_S, 0, self._next)

    def _send(self, now: float) -> int:
        table, first = self._table, self._next
        end = min(first + self._batch, self._total)
        requests, keys, identifiers = table.numbered(first, end)
        self._expected.update(zip(keys, range(first, end), strict=True))
        self._identifiers += identifiers
        self._sent[first:end] = [now] * (end - first)
        self._next = end
        self._outbox.put(requests)
        size, length = table.sockaddr_size, table.dialect.request_length
        self._outbox.address(table.sockaddrs[first * size : end * size])
        sent = 0
        with suppress(OSError):  # it may be about an earlier datagram
            sent = self._outbox.send(self._port.opened, 0, end - first)
        if sent < end - first:
            datagrams = [requests[at : at + length] for at in range(0, len(requests), length)]
            addresses = [table.peers[row // self._width].numeric[0] for row in range(first, end)]
            self._recover(list(zip(datagrams, addresses, strict=True))[sent:], now)
        return end - first

    def _receive(self, now: float) -> int:
        try:
            count = self._inbox.receive(self._port.opened)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._recover((), now)
            return 1
        octets, table = bytes(self._inbox.octets), self._table
        key_size, length = table.key_size, table.dialect.response_length
        begin, end = table.result.start, table.result.stop
        results, arrived, pop = self._results, self._arrived, self._expected.pop
        lengths = self._inbox.lengths[:count].tolist()
        for start, found in zip(self._starts, lengths, strict=False):
            slot = pop(octets[start : start + key_size], None) if found == length else None
            if slot is None:
                self._unexpected(octets[start : start + table.sockaddr_size + found], now)
            else:
                results[slot] = octets[start + begin : start + end]
                arrived[slot] = now
        return count

    def _unexpected(self, record: bytes, now: float) -> None:
        """Handles a datagram that is not an expected good response: its target, if any, leaves the columns."""
        address = unpack_sockaddr(record[: self._table.sockaddr_size])
        self._leave_at(address)
        self._multiplexer.receive(record[self._table.sockaddr_size :], address, now)

    def _recover(self, unsent: Sequence[Outgoing], now: float) -> None:
        """Receives the errors of the network and sends `unsent`; the targets of what fails leave the columns."""
        undelivered: list[Undelivered] = []
        self._port.receive_errors(undelivered)
        if unsent:
            self._multiplexer.sockets.send(unsent, undelivered)
        for one in undelivered:
            self._leave_at(one.address)
            self._multiplexer.report(one, now)

    def _leave_at(self, address: Address) -> None:
        target = self._table.targets.get(address)
        if target is not None and target * self._width < self._next:
            self._leave(target)

    def _leave(self, target: int) -> None:
        """Turns a target into a query that has sent and received the same, unless it is one."""
        if target in self.queries:
            return
        table, first, end = self._table, target * self._width, (target + 1) * self._width
        identifiers = self._identifiers[first:end] or table.numbered(first, end)[2]
        peer, sent_at = table.peers[target], self._sent[first]
        query = Query(
            table.templates[target],
            identifiers,
            peer.numeric,
            rto=peer.round_trip.timeout,
            attempts=self._attempts,
            deadline=self._deadline,
        )
        if sent_at:
            query.start(sent_at)
        sockaddr = pack_sockaddr(peer.numeric[0])
        answers = []
        for slot, identifier in enumerate(identifiers, first):
            beginning = table.before + identifier + table.after
            self._expected.pop(sockaddr + beginning, None)
            if (result := self._results[slot]) is not None:
                answers.append((self._arrived[slot], beginning + result))
        for arrived, datagram in sorted(answers):
            query.datagram(datagram, peer.numeric[0], arrived)
        self.queries[target] = query
        self._multiplexer.adopt(query, identifiers)

    async def _observe(self, columns: Columns) -> None:
        """Updates the round-trip time of every target that stayed in the columns."""
        async for batch in timeslices(batches(range(len(self._table.peers)))):
            for target in batch:
                if target not in self.queries:
                    first = target * self._width
                    sample = min(columns.round_trips[first : first + self._width])
                    self._table.peers[target].round_trip.observe(sample)
