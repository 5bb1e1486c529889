"""Asking many servers, one at a time for each caller (`read`) or all of a fleet (`read_all`).

Queries share sockets and system calls: a socket for each would take a third of what asking takes. The sockets, and so
the ports that a forger would have to guess, are replaced every second.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic

from protocol.address import Address
from protocol.client import Connection, Peer
from protocol.errors import DiscardReason, UnknownName
from protocol.multiplexer import Multiplexer
from protocol.query import Query
from protocol.reading import Reading
from protocol.resolver import Resolver
from protocol.template import RequestTemplate
from protocol.timeslice import batches, timeslices
from protocol.trace import Trace

_OWN_SOCKETS = 100
"""Targets that are asked over a socket of their own at the same time, at most; others wait."""


class Reader:
    """Sockets, name resolution and request templates for readings in one event loop. To be closed.

    Sockets accept new queries for `lifetime` seconds.
    """

    def __init__(self, lifetime: float = 1.0) -> None:
        self.resolver = Resolver()
        self._lifetime = lifetime
        self._multiplexer: Multiplexer | None = None
        self._carrying: dict[Multiplexer, asyncio.Task[None]] = {}
        self._ends: dict[Query, asyncio.Future[None]] = {}
        self._strays: Counter[DiscardReason] = Counter()
        self._templates: dict[tuple[bytes, int], RequestTemplate] = {}
        self._alone = asyncio.Semaphore(_OWN_SOCKETS)

    def close(self) -> None:
        """Ends the queries under way, and closes the sockets."""
        for task in self._carrying.values():
            task.cancel()
        self.resolver.close()

    def connect(self, peer: Peer, trace: Trace | None = None) -> Connection:
        """A connection of its own to one server, with this reader's name resolution."""
        return Connection(peer, self.resolver, trace)

    async def read(self, peer: Peer, *, timeout: float, attempts: int = 3) -> Reading:
        """Everything that the peer's dialect declares as a read. Raises `Shortage`."""
        began = monotonic()
        deadline = began + timeout
        try:
            addresses = peer.numeric or await self.resolver.resolve(peer.where, timeout)
        except UnknownName as error:
            return Reading(error=error, seconds=monotonic() - began)
        looked_up = 0.0 if peer.numeric else monotonic() - began
        multiplexer = self._current()
        query = self._ask(multiplexer, peer, addresses, attempts, deadline)
        if query is None:  # a socket of its own: its answers could not be told from others'
            async with self._alone, self.connect(peer) as connection:
                reading = await connection.ask_at(
                    addresses, peer.dialect.reads, deadline, attempts
                )
            return replace(reading, seconds=reading.seconds + looked_up)
        end = self._ends[query] = asyncio.get_running_loop().create_future()
        try:
            await end
        finally:
            del self._ends[query]
            multiplexer.abandon(query)
        reading = query.reading
        peer.learn(reading)
        return replace(reading, seconds=reading.seconds + looked_up) if looked_up else reading

    async def read_all(
        self, peers: Sequence[Peer], *, timeout: float, attempts: int = 3
    ) -> list[Reading]:
        """Reads all peers simultaneously; the readings are in their order. Raises `Shortage`.

        A silent peer, or a name that is slow to resolve, costs the others nothing.
        """
        deadline = monotonic() + timeout
        readings: dict[int, Reading] = {}
        multiplexer = Multiplexer()
        asked: dict[Query, int] = {}
        others: dict[int, asyncio.Task[Reading]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                async for batch in timeslices(batches(range(len(peers)))):
                    for number in batch:
                        peer = peers[number]
                        query = peer.numeric and self._ask(
                            multiplexer, peer, peer.numeric, attempts, deadline
                        )
                        if query:
                            asked[query] = number
                        else:
                            reading = self.read(
                                peer, timeout=deadline - monotonic(), attempts=attempts
                            )
                            others[number] = group.create_task(reading)
                async for query in multiplexer.finished():
                    number = asked.pop(query)
                    readings[number] = query.reading
                    peers[number].learn(readings[number])
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            multiplexer.close()
            self._strays.update(multiplexer.strays)
        readings |= {number: task.result() for number, task in others.items()}
        return [readings[number] for number in range(len(peers))]

    def take_strays(self) -> Mapping[DiscardReason, int]:
        """Datagrams from addresses that were not asked, or too late for a reading, since the last call."""
        if self._multiplexer:
            self._strays.update(self._multiplexer.strays)
            self._multiplexer.strays.clear()
        if not self._strays:
            return {}
        strays, self._strays = self._strays, Counter()
        return strays

    def _ask(
        self,
        multiplexer: Multiplexer,
        peer: Peer,
        addresses: tuple[Address, ...],
        attempts: int,
        deadline: float,
    ) -> Query | None:
        if peer.dialect.identifier_echo == "never":
            return None
        rto = peer.round_trip.timeout
        template, ordered = self._template(peer), peer.ordered(addresses)
        return multiplexer.ask(template, ordered, rto=rto, attempts=attempts, deadline=deadline)

    def _template(self, peer: Peer) -> RequestTemplate:
        key = (
            peer.token.octets,
            id(peer.dialect),
        )  # a template keeps its dialect, so the id is not reused
        template = self._templates.get(key)
        if template is None:
            template = RequestTemplate.of(peer.token, peer.dialect, peer.dialect.reads)
            self._templates[key] = template
        return template

    def _current(self) -> Multiplexer:
        if self._multiplexer is None:
            self._multiplexer = multiplexer = Multiplexer(lasting=True)
            self._carrying[multiplexer] = asyncio.create_task(self._carry(multiplexer))
            asyncio.get_running_loop().call_later(self._lifetime, self._retire, multiplexer)
        return self._multiplexer

    def _retire(self, multiplexer: Multiplexer) -> None:
        if self._multiplexer is multiplexer:
            self._multiplexer = None
        multiplexer.retire()

    async def _carry(self, multiplexer: Multiplexer) -> None:
        try:
            async for query in multiplexer.finished():
                if (end := self._ends.get(query)) and not end.done():
                    end.set_result(None)
        except Exception as error:  # a shortage, or a defect: the next query gets other sockets
            self._retire(multiplexer)
            for query in multiplexer.under_way & self._ends.keys():
                self._ends[query].set_exception(error)
        finally:
            multiplexer.close()
            self._strays.update(multiplexer.strays)
            del self._carrying[multiplexer]
