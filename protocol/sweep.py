"""First round over a fleet, in columns: a batch is encoded and checked with a few operations.

A good response is known before it arrives: source address, header, identifier and status "done". The keys of all
responses in flight are in one dict, so one look-up checks all of it, and a whole batch is checked with a few list
operations. The sockets are the multiplexer's. A target with any other response, or none, leaves
the columns: it becomes a `Query` that has sent and received the same, and the multiplexer completes it. So the outcome
equals that of the multiplexer alone; tests/protocol/test_sweep.py compares the two.
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from operator import sub
from time import monotonic

from protocol.address import Address
from protocol.dialect import Dialect
from protocol.errors import BadResponse
from protocol.message import Value, meaning
from protocol.mmsg import MessageBatch, unpack_sockaddr
from protocol.multiplexer import Multiplexer
from protocol.query import Query
from protocol.reading import Columns
from protocol.sockets import SHORTAGES, Undelivered
from protocol.sweep_table import NUMBERS, SweepTable
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
        self._sent: list[tuple[float, list[bytes]]] = []
        """Time and identifiers of each sent batch."""
        self._cleared, self._given_up, self._answered = 0, 0, 0
        """Batches that no longer count as in flight, their requests without a response, and all responses."""
        self._expected: dict[bytes, int] = {}
        self._results: list[bytes | None] = [None] * self._total
        self._arrived = [0.0] * self._total
        self._targets: dict[Address, int] = {}

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
                await multiplexer.wait(self._sent[self._cleared][0] + _CLEARING_S)
            else:
                await multiplexer.wait(min(sent_at + self._wait_s, self._deadline))
        values: dict[Command, Sequence[Value | None]] = {}
        async for number, command in timeslices(enumerate(self._table.dialect.reads)):
            values[command] = self._values(number, command)
        if self._answered < self._total:
            stalled = multiplexer.is_stalled
            async for batch in timeslices(batches(range(len(self._table.peers)))):
                if not stalled:
                    multiplexer.resumes_at = monotonic()
                for target in batch:
                    if None in self._results[target * self._width : (target + 1) * self._width]:
                        self._leave(target)
        return await self._columns(values)

    def _in_flight(self, now: float) -> int:
        while (
            self._cleared < len(self._sent) and self._sent[self._cleared][0] + _CLEARING_S <= now
        ):
            first = self._cleared * self._batch
            self._given_up += self._results[first : first + self._batch].count(None)
            self._cleared += 1
        return self._next - self._answered - self._given_up

    def _send(self, now: float) -> int:
        table, first = self._table, self._next
        end = min(first + self._batch, self._total)
        requests, keys, identifiers = table.numbered(first, end)
        self._expected.update(zip(keys, range(first, end), strict=True))
        self._sent.append((now, identifiers))
        self._next = end
        self._outbox.put(requests)
        size, length = table.sockaddr_size, table.dialect.request_length
        self._outbox.address(table.sockaddrs[first * size : end * size])
        sent = 0
        while sent < end - first:
            try:
                sent += self._outbox.send(self._port.opened, sent, end - first - sent)
                if sent < end - first:
                    self._receive_errors(now)
            except OSError as error:
                # About this datagram, or pending since an earlier one.
                if error.errno in SHORTAGES or not self._receive_errors(now):
                    datagram = requests[sent * length : (sent + 1) * length]
                    address = table.peers[(first + sent) // self._width].numeric[0]
                    self._report(Undelivered(datagram, address, error), now)
                    sent += 1
        return end - first

    def _receive(self, now: float) -> int:
        try:
            count = self._inbox.receive(self._port.opened)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._receive_errors(now)
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
                self._answered += 1
        return count

    def _unexpected(self, record: bytes, now: float) -> None:
        """Handles a datagram that is not an expected good response: its target, if any, leaves the columns."""
        address = unpack_sockaddr(record[: self._table.sockaddr_size])
        self._leave_at(address)
        self._multiplexer.receive(record[self._table.sockaddr_size :], address, now)

    def _receive_errors(self, now: float) -> bool:
        undelivered: list[Undelivered] = []
        received = self._multiplexer.sockets.receive_errors(self._port, undelivered)
        for one in undelivered:
            self._report(one, now)
        return received

    def _report(self, undelivered: Undelivered, now: float) -> None:
        self._leave_at(undelivered.address)
        self._multiplexer.report(undelivered, now)

    def _leave_at(self, address: Address) -> None:
        if not self._targets:
            addresses = [peer.numeric[0] for peer in self._table.peers]
            self._targets = dict(zip(addresses, range(len(addresses)), strict=True))
        target = self._targets.get(address)
        if target is not None and target * self._width < self._next:
            self._leave(target)

    def _leave(self, target: int) -> None:
        """Turns a target into a query that has sent and received the same."""
        if target in self.queries:
            return
        table, first = self._table, target * self._width
        if first < self._next:
            sent_at, batch = self._sent[first // self._batch]
            identifiers = batch[first % self._batch : first % self._batch + self._width]
        else:
            sent_at, identifiers = 0.0, table.numbered(first, first + self._width)[2]
        peer = table.peers[target]
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
        at = first * table.sockaddr_size
        sockaddr = bytes(table.sockaddrs[at : at + table.sockaddr_size])
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

    def _values(self, number: int, command: Command) -> Sequence[Value | None]:
        """Returns the values of a command for all targets; one with an invalid value leaves the columns."""
        dialect = self._table.dialect
        operation = dialect.operations[command]
        assert operation.value
        size, offset = operation.value.size, operation.value.offset - dialect.result.offset
        absent, span = bytes(size), slice(offset, offset + size)
        answers = self._results[number :: self._width]
        octets = b"".join([absent if answer is None else answer[span] for answer in answers])
        code = NUMBERS[size].lower() if operation.signed else NUMBERS[size]
        order = ">" if dialect.byte_order == "big" else "<"
        numbers = struct.unpack(f"{order}{len(answers)}{code}", octets)
        if not (operation.flag or operation.signed):
            return numbers
        meanings = {one: _meaning(one, command, dialect) for one in set(numbers)}
        values = [meanings[one] for one in numbers]
        if None in values:
            for target, value in enumerate(values):
                if value is None and answers[target] is not None:
                    self._leave(target)
        return values

    async def _columns(self, values: Mapping[Command, Sequence[Value | None]]) -> Columns:
        sent = [at for at, _ in self._sent for _ in range(self._batch)]
        sent += [0.0] * (self._total - len(sent))
        round_trips = list(map(sub, self._arrived, sent))
        by_command = [round_trips[number :: self._width] for number in range(self._width)]
        seconds = list(map(max, *by_command)) if self._width > 1 else by_command[0]
        async for batch in timeslices(batches(range(len(self._table.peers)))):
            for target in batch:
                if target not in self.queries:
                    first = min(round_trips[target * self._width : (target + 1) * self._width])
                    self._table.peers[target].round_trip.observe(first)
        return Columns(self._width, values, seconds, round_trips, self.queries.keys())


def _meaning(number: int, command: Command, dialect: Dialect) -> Value | None:
    try:
        return meaning(number, command, dialect)
    except BadResponse:
        return None
