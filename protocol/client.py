"""Client for one server: `connect(peer)` returns a `Connection`. protocol/reader.py reads many.

Every operation has a timeout in seconds, and resolves the server's name once. It returns a `Reading`, with all values
or an error, at the latest at the deadline. A cancelled operation releases its resources.
"""

from collections import Counter
from dataclasses import replace
from time import monotonic
from typing import NamedTuple, Self

from protocol.address import Address
from protocol.errors import ReadbackMismatch, UnknownName
from protocol.multiplexer import Multiplexer
from protocol.peer import Peer
from protocol.reading import Reading, joined
from protocol.resolver import Resolver
from protocol.template import RequestTemplate
from protocol.trace import Trace, masked
from protocol.vocabulary import Command

__all__ = ["Connection", "Peer", "Reading", "Switched", "connect"]


class Switched(NamedTuple):
    """Outcome of a write: the state before it, if it was read, and the reading of the state after it."""

    before: bool | None
    reading: Reading


class Connection:
    """Connection to one server: any number of queries over the same socket."""

    def __init__(
        self, peer: Peer, resolver: Resolver | None = None, trace: Trace | None = None
    ) -> None:
        """Without a `resolver` the connection creates its own."""
        self.peer = peer
        self._trace = masked(trace, peer.token, peer.dialect) if trace else None
        self._own_resolver = None if resolver else Resolver()
        self._resolver = resolver or self._own_resolver or Resolver()
        self._multiplexer = Multiplexer(self._trace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._multiplexer.close()
        if self._own_resolver:
            self._own_resolver.close()

    async def ask(self, *commands: Command, timeout: float, attempts: int = 3) -> Reading:
        """Sends all `commands` simultaneously; each is answered, or the reading has an error. Raises `Shortage`."""
        began = monotonic()
        try:
            addresses = await self._resolve(timeout)
        except UnknownName as error:
            return Reading(error=error, seconds=monotonic() - began)
        looked_up = 0.0 if self.peer.numeric else monotonic() - began
        reading = await self.ask_at(addresses, commands, began + timeout, attempts)
        return replace(reading, seconds=reading.seconds + looked_up)

    async def read(self, *, timeout: float, attempts: int = 3) -> Reading:
        """Queries everything that the dialect declares as a read. Raises `Shortage`."""
        return await self.ask(*self.peer.dialect.reads, timeout=timeout, attempts=attempts)

    async def set_transforms(
        self, enabled: bool, *, timeout: float, attempts: int = 3
    ) -> Switched:
        """Reads the state of the transforms, sets it, and reads it back (protocol.md 6.5). Raises `Shortage`.

        The write goes only to the address that answered the read before it. The error is `ReadbackMismatch` if the
        state read back differs from the state set.
        """
        began = monotonic()
        deadline = began + timeout
        found = await self.ask(Command.TRANSFORMS, timeout=timeout, attempts=attempts)
        if found.error or not found.server:
            return Switched(None, found)
        readings = [found]
        switch = Command.ENABLE_TRANSFORMS if enabled else Command.DISABLE_TRANSFORMS
        for command in (switch, Command.TRANSFORMS):
            readings.append(await self.ask_at((found.server,), (command,), deadline, attempts))
            if readings[-1].error:
                break
        reading = joined(readings)
        if reading.error is None and readings[-1][Command.TRANSFORMS] is not enabled:
            reading = replace(reading, values={}, error=ReadbackMismatch(enabled))
        return Switched(bool(found[Command.TRANSFORMS]), reading)

    async def _resolve(self, timeout: float) -> tuple[Address, ...]:
        peer = self.peer
        return peer.numeric or await self._resolver.resolve(peer.where, timeout)

    async def ask_at(
        self,
        addresses: tuple[Address, ...],
        commands: tuple[Command, ...],
        deadline: float,
        attempts: int,
    ) -> Reading:
        """Like `ask`, for the given addresses, until a time of the monotonic clock. Raises `Shortage`."""
        if self.peer.dialect.identifier_echo != "never":
            return await self._ask_together(addresses, commands, deadline, attempts)
        # Answers without an identifier: one command at a time, each from its own port. A late answer to an
        # earlier command meets a closed port, so it cannot be mistaken for the answer to the next.
        readings: list[Reading] = []
        for command in commands:
            self._multiplexer.close()
            self._multiplexer = Multiplexer(self._trace)
            reading = await self._ask_together(addresses, (command,), deadline, attempts)
            readings.append(reading)
            if reading.error:
                break
            addresses = (reading.server,) if reading.server else addresses
        return joined(readings)

    async def _ask_together(
        self,
        addresses: tuple[Address, ...],
        commands: tuple[Command, ...],
        deadline: float,
        attempts: int,
    ) -> Reading:
        template = RequestTemplate.of(self.peer.token, self.peer.dialect, commands)
        query = self._multiplexer.ask(self.peer, template, addresses, attempts, deadline)
        if query is None:  # the identifiers are used up, or errors have none
            self._multiplexer.close()
            self._multiplexer = Multiplexer(self._trace)
            return await self._ask_together(addresses, commands, deadline, attempts)
        try:
            async for _ in self._multiplexer.finished():
                pass
        finally:
            self._multiplexer.abandon(query)
        reading = query.reading
        self.peer.learn(reading)
        discarded = Counter(reading.cost.discarded)
        discarded.update(self._multiplexer.strays)
        self._multiplexer.strays.clear()
        return replace(reading, cost=reading.cost._replace(discarded=dict(discarded)))


def connect(peer: Peer, trace: Trace | None = None) -> Connection:
    """Returns a connection for `async with`; `trace` is called with every datagram, its token masked."""
    return Connection(peer, trace=trace)
