"""What became of the last readings: rings of the newest, the failed ones apart, so that good ones do not oust them."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.targets import Scrape
from protocol import Discard, Reason


@dataclass(frozen=True, slots=True)
class Entry:
    """A reading in words: `at` in seconds since 1970."""

    at: float
    error: str | None
    reason: Reason | None
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

    def observe(self, scrapes: Sequence[Scrape], strays: Mapping[Discard, int]) -> None:
        now = time.time()
        for scrape in scrapes:
            if scrape.target:
                self._keep(self._last, scrape, now)
                if scrape.reading.error:
                    self._keep(self._failed, scrape, now)

    def forget(self, names: set[str]) -> None:
        """Drop every target that is not among `names`."""
        for rings in (self._last, self._failed):
            for name in rings.keys() - names:
                del rings[name]

    def _keep(self, rings: dict[str, deque[Entry]], scrape: Scrape, now: float) -> None:
        assert scrape.target is not None
        name = scrape.target.name
        if name not in rings:
            rings[name] = deque(maxlen=self._length)
        rings[name].append(_entry(scrape, now))


def _entry(scrape: Scrape, now: float) -> Entry:
    reading = scrape.reading
    error = reading.error
    return Entry(
        now,
        str(error) if error else None,
        error.reason if error else None,
        reading.seconds,
        reading.cost.datagrams_sent,
        reading.cost.retransmissions,
    )
