"""Readings: the values that servers returned, and the cost of the queries."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from protocol.address import Address
from protocol.errors import DiscardReason, NoReading
from protocol.message import Value
from protocol.vocabulary import Command

NO_DISCARDS: Mapping[DiscardReason, int] = MappingProxyType({})


class Cost(NamedTuple):
    """Cost of an operation. Round trips, in seconds, are those of requests transmitted once."""

    datagrams_sent: int = 0
    retransmissions: int = 0
    round_trips: tuple[float, ...] = ()
    discarded: Mapping[DiscardReason, int] = NO_DISCARDS


@dataclass(frozen=True, slots=True)
class Reading:
    """Result of reading one server: a value for every command, or `error` and no value.

    `seconds` is how long it took, from the start of the operation, name resolution included, to the last answer
    or the deadline. `server` is the address that answered, if one did.
    """

    values: Mapping[Command, Value | None] = field(default_factory=dict)
    error: NoReading | None = None
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    server: Address | None = None

    def __getitem__(self, command: Command) -> Value | None:
        """The value of `command`; raises the reading's error if there is one."""
        if self.error:
            raise self.error
        return self.values[command]


def joined(readings: Sequence[Reading]) -> Reading:
    """Combines consecutive readings of one operation: the last error, and the sum of the costs."""
    discarded: Counter[DiscardReason] = Counter()
    values: dict[Command, Value | None] = {}
    for reading in readings:
        discarded.update(reading.cost.discarded)
        values |= reading.values
    error, server = readings[-1].error, readings[-1].server
    cost = Cost(
        sum(reading.cost.datagrams_sent for reading in readings),
        sum(reading.cost.retransmissions for reading in readings),
        tuple(sample for reading in readings for sample in reading.cost.round_trips),
        dict(discarded),
    )
    seconds = sum(reading.seconds for reading in readings)
    return Reading({} if error else values, error, cost, seconds, server)
