"""Reads many servers: one per call (`read`) or a fleet (`read_all`).

Queries share sockets and system calls: a socket each would be a third of the cost of a query. The sockets are replaced
every second, and with them the ports that an off-path attacker has to guess.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic

from protocol.address import Address
from protocol.client import Connection
from protocol.errors import DiscardReason, Resource, Shortage, UnknownName
from protocol.fleet_tables import FleetTables
from protocol.multiplexer import Multiplexer
from protocol.peer import Peer
from protocol.query import Query
from protocol.reading import Reading
from protocol.readings import Columns, Readings
from protocol.resolver import Resolver
from protocol.sweep import LONGEST_WAIT_S, Sweep
from protocol.template import RequestTemplate
from protocol.timeslice import timeslices
from protocol.trace import Trace

_OWN_SOCKETS = 500
"""Maximum number of simultaneous queries with a socket of their own; others wait."""

_SHARE = 4
"""These sockets take at most one in four of the descriptors that the process may open."""

_MAX_TEMPLATES = 1 << 15
"""Maximum number of request templates kept, one for each token and dialect."""

_MAX_WAITING = 0.25
"""Share of a reading's timeout in which the sweeps of a fleet wait for late responses, in total."""


class Reader:
    """Sockets, name resolution and request templates for readings in one event loop; must be closed.

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
        self._fleet: FleetTables | None = None
        """Tables of the fleet that was read last."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # -1: any number
        share = descriptors // _SHARE if descriptors >= 0 else _OWN_SOCKETS
        self._most_alone = max(1, min(_OWN_SOCKETS, share))
        self._alone = asyncio.Semaphore(self._most_alone)

    def close(self) -> None:
        """Cancels the queries in progress, and closes the sockets."""
        for task in self._carrying.values():
            task.cancel()
        for end in self._ends.values():
            end.cancel()
        self.resolver.close()

    def connect(self, peer: Peer, trace: Trace | None = None) -> Connection:
        """Returns a separate connection to one server, with this reader's name resolution."""
        return Connection(peer, self.resolver, trace)

    async def read(self, peer: Peer, *, timeout: float, attempts: int = 3) -> Reading:
        """Reads everything that the peer's dialect declares as a read. Raises `Shortage`."""
        began = monotonic()
        deadline = began + timeout
        try:
            addresses = peer.numeric or await self.resolver.resolve(peer.where, timeout)
        except UnknownName as error:
            return Reading(error=error, seconds=monotonic() - began)
        looked_up = 0.0 if peer.numeric else monotonic() - began
        multiplexer = self._current()
        query = None
        if peer.dialect.identifier_echo != "never":
            query = multiplexer.ask(peer, self._template(peer), addresses, attempts, deadline)
        if query is None:  # its responses could not be distinguished from others
            reading = await self._read_alone(peer, addresses, deadline, attempts)
            return replace(reading, seconds=monotonic() - began)
        end = self._ends[query] = asyncio.get_running_loop().create_future()
        try:
            await end
        finally:
            del self._ends[query]
            multiplexer.abandon(query)
        reading = query.reading
        peer.learn(reading)
        return replace(reading, seconds=reading.seconds + looked_up) if looked_up else reading

    async def _read_alone(
        self, peer: Peer, addresses: tuple[Address, ...], deadline: float, attempts: int
    ) -> Reading:
        """Reads a peer over a socket of its own, as soon as there may be one more of those."""
        try:
            async with asyncio.timeout(deadline - monotonic()):
                await self._alone.acquire()
        except TimeoutError:  # the peer was not queried, so it is not known to be down
            raise Shortage(
                Resource.DESCRIPTORS, f"{self._most_alone} servers are silent, with a socket each"
            ) from None
        try:
            async with self.connect(peer) as connection:
                return await connection.ask_at(addresses, peer.dialect.reads, deadline, attempts)
        finally:
            self._alone.release()

    async def read_all(
        self, peers: Sequence[Peer], *, timeout: float, attempts: int = 3
    ) -> Readings:
        """Reads all peers simultaneously; the readings are in their order. Raises `Shortage`.

        The first round is by columns (protocol/sweep.py) where a target allows it. A silent peer, or a name that is
        slow to resolve, does not delay the others.
        """
        deadline = monotonic() + timeout
        if self._fleet is None or not self._fleet.is_of(peers):
            self._fleet = await FleetTables.of(peers, self._template)
        fleet = self._fleet
        timeout = deadline - monotonic()  # less what the preparation took
        others: dict[int, Reading] = {}
        parts: list[tuple[Sequence[int], Columns]] = []
        multiplexer, left = Multiplexer(), dict[Query, int]()
        # Tables are swept one after the other: silent targets in each must leave time for the last.
        wait_s = min(LONGEST_WAIT_S, _MAX_WAITING * timeout / max(len(fleet.tables), 1))
        try:
            async with asyncio.TaskGroup() as group:

                def start(number: int) -> asyncio.Task[Reading]:
                    reading = self.read(peers[number], timeout=timeout, attempts=attempts)
                    return group.create_task(reading)

                apart = {number: start(number) for number in fleet.others}
                for targets, table in fleet.tables:
                    try:
                        multiplexer.sockets.open(table.family)
                    except OSError:  # no such family on this system: the readings report it
                        apart |= {number: start(number) for number in targets}
                        continue
                    sweep = Sweep(table, multiplexer, attempts, deadline, wait_s)
                    parts.append((targets, await sweep.run()))
                    left |= {query: targets[row] for row, query in sweep.queries.items()}
                async for _ in multiplexer.finished():
                    pass
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            multiplexer.close()
            self._strays.update(multiplexer.strays)
        async for query, number in timeslices(left.items()):
            others[number] = query.reading
            peers[number].learn(others[number])
        others |= {number: task.result() for number, task in apart.items()}
        return Readings(len(peers), parts, others)

    def take_strays(self) -> Mapping[DiscardReason, int]:
        """Returns the stray datagrams since the last call: from unknown addresses, or after the end of a reading."""
        if self._multiplexer and self._multiplexer.strays:
            self._strays.update(self._multiplexer.strays)
            self._multiplexer.strays.clear()
        if not self._strays:
            return {}
        strays, self._strays = self._strays, Counter()
        return strays

    def _template(self, peer: Peer) -> RequestTemplate:
        # A template keeps its dialect, so the id is not reused.
        key = peer.token.octets, id(peer.dialect)
        template = self._templates.get(key)
        if template is None:
            template = RequestTemplate.of(peer.token, peer.dialect, peer.dialect.reads)
            if len(self._templates) >= _MAX_TEMPLATES:  # of tokens and dialects before a reload
                self._templates.clear()
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
            for query, end in self._ends.items():
                if end.done():  # cancelled, and the caller has not run since
                    continue
                if query.done:  # ended in the same round as the exception, and was not yielded
                    end.set_result(None)
                elif query in multiplexer.under_way:
                    end.set_exception(error)
        finally:
            multiplexer.close()
            self._strays.update(multiplexer.strays)
            del self._carrying[multiplexer]
