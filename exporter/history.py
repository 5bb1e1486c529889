"""The last readings of each target, and the last failures in a separate ring, which successes do not displace.

The readings of the whole fleet are kept as one round each, by columns: separate objects would be most of the
memory of a target.
"""

import time
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from operator import itemgetter
from typing import NamedTuple, TypeVar

from exporter.reading import TargetReadings
from protocol.client import Reading
from protocol.errors import FailureReason

T = TypeVar("T")


class Entry(NamedTuple):
    """A reading as text: `at` in seconds since 1970, `seconds` its duration."""

    at: float
    error: str | None
    reason: FailureReason | None
    seconds: float
    datagrams_sent: int
    retransmissions: int


class _Round(NamedTuple):
    """The readings of a fleet at one time, by columns; those that failed are in `failed`, by row."""

    number: int
    at: float
    rows: Mapping[str, int]
    seconds: "array[float]"
    datagrams_sent: "array[int]"
    retransmissions: "array[int]"
    failed: Mapping[int, Entry]

    def entry(self, name: str) -> Entry | None:
        row = self.rows.get(name)
        if row is None:
            return None
        if row in self.failed:
            return self.failed[row]
        sent, again = self.datagrams_sent[row], self.retransmissions[row]
        return Entry(self.at, None, None, self.seconds[row], sent, again)


class History:
    """The last readings and the last failures of each target.

    Readings are numbered, and ordered by that: the wall clock may be set back.
    """

    def __init__(self, length: int = 10) -> None:
        self._length = length
        self._rounds: deque[_Round] = deque(maxlen=length)
        self._single: dict[str, deque[tuple[int, Entry]]] = {}
        self._failed: dict[str, deque[Entry]] = {}
        self._numbers = count()

    def last(self, target: str) -> Sequence[Entry]:
        """Oldest first."""
        found = [(one.number, entry) for one in self._rounds if (entry := one.entry(target))]
        found += self._single.get(target, ())
        return tuple(entry for _, entry in sorted(found, key=itemgetter(0))[-self._length :])

    def failed(self, target: str) -> Sequence[Entry]:
        """Oldest first."""
        return tuple(self._failed.get(target, ()))

    def observe(self, found: TargetReadings) -> Iterator[None]:
        """Keeps readings; yields after each failed one, for a caller with other work to do."""
        number, now, readings = next(self._numbers), time.time(), found.readings
        failed: dict[int, Entry] = {}
        for row in readings.errors:
            failed[row] = _entry(readings[row], now)
            if target := found.targets[row]:
                _keep(self._failed, target.name, failed[row], self._length)
            yield
        if len(found) > 1:
            sent, again = readings.datagrams_sent(), readings.retransmissions()
            columns = array("d", readings.seconds()), array("I", sent), array("I", again)
            self._rounds.append(_Round(number, now, found.rows, *columns, failed))
        elif len(found) and (target := found.targets[0]):
            _keep(self._single, target.name, (number, _entry(readings[0], now)), self._length)

    def forget(self, names: set[str]) -> None:
        """Removes every target that is not among `names`."""
        for rings in (self._single, self._failed):
            for name in rings.keys() - names:
                del rings[name]
        for number, one in enumerate(self._rounds):
            if gone := one.rows.keys() - names:
                rows = {name: row for name, row in one.rows.items() if name not in gone}
                self._rounds[number] = one._replace(rows=rows)


def _keep(rings: dict[str, deque[T]], name: str, entry: T, length: int) -> None:
    ring = rings.get(name)
    if ring is None:
        ring = rings[name] = deque(maxlen=length)
    ring.append(entry)


def _entry(reading: Reading, now: float) -> Entry:
    error, cost = reading.error, reading.cost
    return Entry(
        now,
        str(error) if error else None,
        error.reason if error else None,
        reading.seconds,
        cost.datagrams_sent,
        cost.retransmissions,
    )
