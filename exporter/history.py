"""The last readings of each target, and the last failures in a ring of their own, which successes do not displace."""

import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from exporter.targets import TargetReading
from protocol.client import Reading
from protocol.errors import FailureReason


class Entry(NamedTuple):
    """A reading as text: `at` in seconds since 1970, `seconds` its duration."""

    at: float
    error: str | None
    reason: FailureReason | None
    seconds: float
    datagrams_sent: int
    retransmissions: int


class History:
    """The last readings and the last failures of each target."""

    def __init__(self, length: int = 10) -> None:
        self._length = length
        self._last: dict[str, deque[Entry]] = {}
        self._failed: dict[str, deque[Entry]] = {}

    def last(self, target: str) -> Sequence[Entry]:
        """Oldest first."""
        return tuple(self._last.get(target, ()))

    def failed(self, target: str) -> Sequence[Entry]:
        """Oldest first."""
        return tuple(self._failed.get(target, ()))

    def observe(self, scrapes: Sequence[TargetReading]) -> None:
        now = time.time()
        for scrape in scrapes:
            if scrape.target:
                name, entry = scrape.target.name, _entry(scrape.reading, now)
                _keep(self._last, name, entry, self._length)
                if entry.error:
                    _keep(self._failed, name, entry, self._length)

    def forget(self, names: set[str]) -> None:
        """Removes every target that is not among `names`."""
        for rings in (self._last, self._failed):
            for name in rings.keys() - names:
                del rings[name]


def _keep(rings: dict[str, deque[Entry]], name: str, entry: Entry, length: int) -> None:
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
