"""Readings of a fleet, by columns as far as they were received so."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter, sub
from typing import Self, TypeVar, overload

from protocol.errors import NoReading
from protocol.message import Value
from protocol.reading import Cost, Reading
from protocol.vocabulary import Command

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of the readings of targets that answered every first transmission; one row per target.

    `round_trips` has `width` entries for each. The rows in `void` are unused.
    """

    width: int
    values: Mapping[Command, Sequence[Value | None]]
    seconds: Sequence[float]
    round_trips: Sequence[float]
    void: Collection[int] = ()

    @classmethod
    def of(
        cls,
        values: Mapping[Command, Sequence[Value | None]],
        sent: Sequence[float],
        arrived: Sequence[float],
        void: Collection[int],
    ) -> Self:
        """From the times of requests and responses, those to each target one after the other."""
        width, round_trips = len(values), list(map(sub, arrived, sent))
        by_command = [round_trips[number::width] for number in range(width)]
        seconds = list(map(max, *by_command)) if width > 1 else round_trips
        return cls(width, values, seconds, round_trips, void)

    def reading(self, row: int) -> Reading:
        values = {command: column[row] for command, column in self.values.items()}
        first = row * self.width
        trips = tuple(self.round_trips[first : first + self.width])
        return Reading(values, None, Cost(self.width, 0, trips), self.seconds[row])


class Readings(Sequence[Reading]):
    """Readings of a fleet in the order of its targets. `Reading` objects are created on access.

    `others` are the readings that are not in the columns of `parts`; each part has the targets of its rows.
    """

    def __init__(
        self,
        size: int,
        parts: Sequence[tuple[Sequence[int], Columns]] = (),
        others: Mapping[int, Reading] | None = None,
    ) -> None:
        self._size = size
        self._parts = parts
        self.others = others or {}
        errors = [(target, one.error) for target, one in self.others.items() if one.error]
        self.errors: Mapping[int, NoReading] = (
            dict(sorted(errors, key=itemgetter(0))) if errors else {}
        )
        """Errors by target."""

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> "Readings":
        return cls(len(readings), (), dict(enumerate(readings)))

    def replaced(self, others: Mapping[int, Reading]) -> "Readings":
        """Returns a copy with other readings of some targets."""
        return Readings(self._size, self._parts, {**self.others, **others})

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> Reading: ...
    @overload
    def __getitem__(self, place: slice) -> list[Reading]: ...
    def __getitem__(self, place: int | slice) -> Reading | list[Reading]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(self._size))]
        if place in self.others:
            return self.others[place]
        for targets, columns in self._parts:
            row = bisect_left(targets, place)
            if row < len(targets) and targets[row] == place:
                return columns.reading(row)
        raise IndexError(place)

    def values(self, command: Command) -> list[Value | None]:
        """Values of a command by target."""
        parts = [(targets, part.values.get(command)) for targets, part in self._parts]
        return self._column(parts, None, lambda one: one.values.get(command))

    def seconds(self) -> list[float]:
        parts = [(targets, part.seconds) for targets, part in self._parts]
        return self._column(parts, 0.0, lambda one: one.seconds)

    def datagrams_sent(self) -> list[int]:
        parts = [(targets, [part.width] * len(targets)) for targets, part in self._parts]
        return self._column(parts, 0, lambda one: one.cost.datagrams_sent)

    def retransmissions(self) -> list[int]:
        return self._column((), 0, lambda one: one.cost.retransmissions)

    def totals(self) -> tuple[int, int]:
        """Datagrams sent to all targets, and how many of these were retransmissions."""
        sent = again = 0
        for targets, part in self._parts:  # what is in columns was sent once
            sent += part.width * (len(targets) - len(part.void))
        for reading in self.others.values():
            sent += reading.cost.datagrams_sent
            again += reading.cost.retransmissions
        return sent, again

    def round_trips(self) -> list[float]:
        """All round trips, in no order."""
        trips: list[float] = []
        for _, part in self._parts:
            if part.void:
                rows = range(len(part.seconds))
                trips += [
                    trip
                    for row in rows
                    if row not in part.void
                    for trip in part.round_trips[row * part.width : (row + 1) * part.width]
                ]
            else:
                trips += part.round_trips
        for reading in self.others.values():
            trips += reading.cost.round_trips
        return trips

    def _column(
        self,
        parts: Sequence[tuple[Sequence[int], Sequence[T] | None]],
        absent: T,
        of: Callable[[Reading], T],
    ) -> list[T]:
        """Returns a value of each target: from `parts`, or `of` its single reading."""
        if len(self.others) == self._size:
            return [of(self.others[target]) for target in range(self._size)]
        column = [absent] * self._size
        for targets, part in parts:
            if part is None:
                continue
            if len(targets) == self._size:
                column = list(part)
            else:
                for target, value in zip(targets, part, strict=True):
                    column[target] = value
        for target, reading in self.others.items():
            column[target] = of(reading)
        return column
