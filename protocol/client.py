"""Asking one server (`connect`); protocol/fleet.py asks ten thousand at once.

Every operation has one deadline, a time of the running loop's clock (which is `time.monotonic`), and ends by then.
What comes back is a `Reading`: everything that was asked, or the error for which there is none, and what it cost.
Cancelled, an operation closes its sockets and leaves nothing behind.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random, SystemRandom
from typing import Self

from protocol.address import Address, HostPort, numeric, resolve
from protocol.dialect import Dialect
from protocol.dialects import V0
from protocol.errors import DiscardReason, NoReading, ReadbackMismatch, UnknownName
from protocol.message import Value
from protocol.multiplexer import Event, Multiplexer, Trace
from protocol.query import Cost, Query
from protocol.roundtrip import RoundTrip
from protocol.template import RequestTemplate
from protocol.token import Token
from protocol.vocabulary import Command


@dataclass(frozen=True, slots=True)
class Reading:
    """What one server said: all that was asked, or `error` and no value.

    `seconds` is how long it took, from the start of the operation to its last datagram or its deadline.
    """

    values: Mapping[Command, Value | None] = field(default_factory=dict)
    error: NoReading | None = None
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0

    def __getitem__(self, command: Command) -> Value | None:
        """The value of `command`; raises the reading's error where it has one."""
        if self.error:
            raise self.error
        return self.values[command]


class Peer:
    """A server to ask, and what has been learned of the way there. Kept for as long as the server is of interest."""

    def __init__(self, where: HostPort, token: Token, dialect: Dialect = V0) -> None:
        self.where = where
        self.token = token
        self.dialect = dialect
        self.round_trip = RoundTrip()
        self.numeric = numeric(where)
        """Its address, where it is written in numbers; a name is looked up for every operation."""

    async def addresses(self, deadline: float) -> tuple[Address, ...]:
        """Raises `UnknownName`."""
        return self.numeric or await resolve(self.where, deadline)

    def query(
        self,
        addresses: tuple[Address, ...],
        asked: RequestTemplate,
        attempts: int,
        deadline: float,
        random: Random,
    ) -> Query:
        """A query of this server, which learns from it how long answers take."""
        return Query(
            addresses,
            asked,
            round_trip=self.round_trip,
            attempts=attempts,
            deadline=deadline,
            random=random,
        )


class Connection:
    """One server, asked as often as wished over the same socket."""

    def __init__(self, peer: Peer, exchange: Multiplexer) -> None:
        self.peer = peer
        self._exchange = exchange
        self._random = SystemRandom()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._exchange.close()

    async def ask(self, *commands: Command, deadline: float, attempts: int = 3) -> Reading:
        """Send `commands` all at once; each is answered, or the reading has an error."""
        try:
            addresses = await self.peer.addresses(deadline)
        except UnknownName as error:
            return Reading(error=error)
        if self.peer.dialect.identifier_echo == "never":
            return await self._ask_in_turn(addresses, commands, deadline, attempts)
        query = self._inquiry(addresses, commands, attempts, deadline)
        await self._exchange.run([query])
        return _reading(query, self._exchange.strays)

    async def read(self, *, deadline: float, attempts: int = 3) -> Reading:
        """Ask everything that the dialect declares as a read."""
        return await self.ask(*self.peer.dialect.reads, deadline=deadline, attempts=attempts)

    async def set_transforms(
        self, enabled: bool, *, deadline: float, attempts: int = 3
    ) -> Reading:
        """Switch the transforms, then read them back: what is returned is what was read (protocol.md 6.5).

        The error is `ReadbackMismatch` where the server then says otherwise.
        """
        switch = Command.ENABLE_TRANSFORMS if enabled else Command.DISABLE_TRANSFORMS
        written = await self.ask(switch, deadline=deadline, attempts=attempts)
        if written.error:
            return written
        read = await self.ask(Command.TRANSFORMS, deadline=deadline, attempts=attempts)
        error = read.error
        if error is None and read[Command.TRANSFORMS] is not enabled:
            error = ReadbackMismatch(enabled)
        return _joined([written, Reading(read.values, error, read.cost, read.seconds)])

    def _inquiry(
        self,
        addresses: tuple[Address, ...],
        commands: tuple[Command, ...],
        attempts: int,
        deadline: float,
    ) -> Query:
        asked = RequestTemplate.of(self.peer.token, self.peer.dialect, commands)
        return self.peer.query(addresses, asked, attempts, deadline, self._random)

    async def _ask_in_turn(
        self,
        addresses: tuple[Address, ...],
        commands: tuple[Command, ...],
        deadline: float,
        attempts: int,
    ) -> Reading:
        """For answers without an identifier: one command at a time, each from a port of its own.

        A late answer to an earlier command finds a closed port, and is not taken for the next one's.
        """
        readings = []
        for command in commands:
            query = self._inquiry(addresses, (command,), attempts, deadline)
            self._exchange.change_port()
            await self._exchange.run([query])
            readings.append(_reading(query, self._exchange.strays))
            if readings[-1].error:
                break
        return _joined(readings)


def connect(peer: Peer, trace: Trace | None = None) -> Connection:
    """A connection to ask over, for `async with`; `trace` is told of every datagram, the token masked."""
    return Connection(peer, Multiplexer(_masked(trace, peer) if trace else None))


def _reading(query: Query, strays: Mapping[DiscardReason, int]) -> Reading:
    """What a query brought; `strays` are counted with what it discarded itself."""
    reading = reading_of(query)
    if not strays:
        return reading
    discarded = Counter(reading.cost.discarded)
    discarded.update(strays)
    return replace(reading, cost=reading.cost._replace(discarded=dict(discarded)))


def reading_of(query: Query) -> Reading:
    """What a query that has ended brought."""
    error = query.error
    return Reading({} if error else query.values, error, query.cost, query.seconds)


def _joined(readings: Sequence[Reading]) -> Reading:
    """Readings that followed each other as one: the last one's error, the costs added up."""
    discarded: Counter[DiscardReason] = Counter()
    values: dict[Command, Value | None] = {}
    for reading in readings:
        discarded.update(reading.cost.discarded)
        values |= reading.values
    error = readings[-1].error
    cost = Cost(
        sum(reading.cost.datagrams_sent for reading in readings),
        sum(reading.cost.retransmissions for reading in readings),
        tuple(sample for reading in readings for sample in reading.cost.round_trips),
        dict(discarded),
    )
    seconds = sum(reading.seconds for reading in readings)
    return Reading({} if error else values, error, cost, seconds)


def _masked(trace: Trace, peer: Peer) -> Trace:
    """What is sent has the token where AUTH stands; what comes in may have it anywhere, if a server sends it back."""
    token, place = peer.token.octets, peer.dialect.authentication
    mask = b"*" * len(token)

    def masked(event: Event) -> None:
        datagram = event.datagram
        if len(datagram) == peer.dialect.request_length and datagram[place.span] == token:
            datagram = datagram[: place.offset] + mask + datagram[place.end :]
        if len(token) > 2:  # a shorter one is in many datagrams by chance
            datagram = datagram.replace(token, mask)
        trace(replace(event, datagram=datagram))

    return masked
