"""Warns in the log, once per server, about numbers that a wrong dialect yields (protocol/plausibility.py)."""

import logging
from collections.abc import Mapping, Sequence

from exporter.reading import TargetReading
from protocol.message import Value
from protocol.plausibility import doubt
from protocol.vocabulary import COUNTERS, Command

logger = logging.getLogger(__name__)

_MAX_SERVERS = 50_000
"""Maximum number of servers remembered, as probes may name any address of their networks."""

_CHECKED_PER_SCRAPE = 200
"""Maximum number of servers checked per scrape; those beyond it are checked in the next one."""


class DialectWarnings:
    """Tracks which servers still have to be checked.

    A server is checked until its counters have changed plausibly or there was a warning, so that a fleet in use costs
    one look-up per reading.
    """

    def __init__(self) -> None:
        self._checked: set[str] = set()
        self._next = 0
        self._before: dict[str, Mapping[Command, Value | None]] = {}

    def clear(self) -> None:
        """Check every server again, as after a change of the configuration."""
        self._checked.clear()
        self._before.clear()

    def observe(self, found: Sequence[TargetReading]) -> None:
        first = 0
        if len(found) > _CHECKED_PER_SCRAPE:
            first, self._next = self._next, (self._next + _CHECKED_PER_SCRAPE) % len(found)
        for scrape in found[first : first + _CHECKED_PER_SCRAPE]:
            server = scrape.target.name if scrape.target else str(scrape.where)
            if server not in self._checked and scrape.reading.error is None:
                self._check(server, scrape)

    def _check(self, server: str, scrape: TargetReading) -> None:
        if len(self._checked) + len(self._before) >= _MAX_SERVERS:
            self.clear()
        values, before = scrape.reading.values, self._before.get(server)
        if not values.keys() & COUNTERS:  # only the transforms were read
            return
        if values == before:  # as of a server that is not in use: it was checked already
            return
        text = doubt(values, scrape.dialect, before)
        if text:
            extra = {"server": server, "dialect": scrape.dialect.name, "err": text}
            logger.warning("Implausible numbers; the dialect is probably wrong", extra=extra)
        elif before is None or not _has_counted(values, before):
            self._before[server] = values
            return
        self._checked.add(server)
        self._before.pop(server, None)


def _has_counted(
    values: Mapping[Command, Value | None], before: Mapping[Command, Value | None]
) -> bool:
    return any(
        value != before.get(command) for command, value in values.items() if command in COUNTERS
    )
