"""The exporter without its web server: the configuration in use, and what hangs on it."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from hmac import compare_digest

from exporter.configuration.config import Config
from exporter.exposition import label_text
from exporter.history import History
from exporter.metrics import ExporterMetrics, Row
from exporter.targets import TargetReading, Targets
from protocol.errors import DiscardReason, FailureReason, ReadbackMismatch
from protocol.reader import Reader
from protocol.timeslice import batches, timeslices
from smtpstatus.defect import summary
from smtpstatus.errors import ConfigError

logger = logging.getLogger(__name__)


def refusal(error: Exception) -> ConfigError:
    """The error itself, or for one that nobody expected a `ConfigError` that names its kind and place."""
    if isinstance(error, ConfigError):
        return error
    return ConfigError(f"internal error while loading the configuration: {summary(error)}")


class ActiveConfig:
    """One configuration in use. A request keeps it to its end, whatever is loaded meanwhile."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self._labels = {
            target.name: {**target.labels, "target": target.name}
            for target in targets.config.targets
        }
        self._texts = {name: label_text(labels) for name, labels in self._labels.items()}

    @property
    def config(self) -> Config:
        return self.targets.config

    async def rows(self, scrapes: Sequence[TargetReading]) -> list[Row]:
        """Targets' samples beside each other: with their labels, and the reason of those that failed."""
        rows: list[Row] = []
        async for batch in timeslices(batches(scrapes)):
            rows += [
                self._labelled(scrape, scrape.target.name) for scrape in batch if scrape.target
            ]
        return rows

    def _labelled(self, scrape: TargetReading, name: str) -> Row:
        reading = scrape.reading
        reasons = (reading.error.reason,) if reading.error else ()
        changed = self.targets.changed.get(name)
        return Row(self._labels[name], self._texts[name], reading, changed, reasons)

    def row(self, scrape: TargetReading) -> Row:
        """One target's samples alone: without labels, and with every reason."""
        changed = self.targets.changed.get(scrape.target.name) if scrape.target else None
        return Row({}, "", scrape.reading, changed, tuple(FailureReason))


class Service:
    """Targets, metrics and history, while the configuration comes and goes as a whole."""

    def __init__(self, load: Callable[[], Config]) -> None:
        """Raises `ConfigError` if the configuration cannot be loaded."""
        self._load = load
        self._reloading = asyncio.Lock()
        self._next_reload: asyncio.Task[None] | None = None
        self._down: set[str] = set()
        self.own = ExporterMetrics()
        self.history = History()
        self.reader = Reader()
        self.ready = False
        self.installed = self._prepared()
        self._taken_into_use()

    def is_api_token(self, given: str) -> bool:
        """Whether a header's text `given` is the token that may write; compared in constant time."""
        self.installed.targets.refresh_secrets()
        secret = self.installed.config.api.secret
        octets = given.encode("latin-1")  # as headers are decoded
        return secret is not None and compare_digest(octets, secret.text.encode())

    async def reload(self) -> None:
        """Read the configuration again and swap it in whole. Raises `ConfigError`, and the old one stays.

        All who ask while that is under way share the one time that it is done after it.
        """
        if self._next_reload is None:
            self._next_reload = asyncio.create_task(self._reload())
        await asyncio.shield(self._next_reload)

    async def _reload(self) -> None:
        async with self._reloading:
            # Who asks from here on may know of a change that this one misses.
            self._next_reload = None
            self.own.reloads.inc()
            try:
                installed = await asyncio.to_thread(self._prepared)
            except Exception as error:
                self.own.reload_failures.inc()
                self.own.reload_successful.set(0)
                refused = refusal(error)
                logger.error(
                    "Configuration reload failed; keeping the previous configuration",
                    extra={"err": refused},
                )
                raise refused from None
            installed.targets.inherit(self.installed.targets)
            self.installed = installed
            self._taken_into_use()
            count = len(installed.config.targets)
            logger.info("Configuration loaded", extra={"targets": count})

    def _prepared(self) -> ActiveConfig:
        """What takes long with a large fleet, and may be done beside the event loop."""
        return ActiveConfig(Targets(self._load(), self._observe, self.reader))

    def _taken_into_use(self) -> None:
        names = {target.name for target in self.installed.config.targets}
        self.history.forget(names)
        self._down &= names
        self.own.targets.set(len(names))
        self.own.reload_successful.set(1)
        self.own.reload_timestamp.set(time.time())

    def _observe(
        self, scrapes: Sequence[TargetReading], strays: Mapping[DiscardReason, int]
    ) -> None:
        self.own.observe(scrapes, strays)
        self.history.observe(scrapes)
        for scrape in scrapes:
            if scrape.target and bool(scrape.reading.error) != (scrape.target.name in self._down):
                self._tell_a_change(scrape.target.name, scrape)

    def _tell_a_change(self, name: str, scrape: TargetReading) -> None:
        """One line when a target goes down, and one when it is back."""
        error = scrape.reading.error
        if isinstance(error, ReadbackMismatch):
            return  # a write was undone: the server is up, and the one who wrote is told
        fields = {"target": name, "address": str(scrape.where)}
        if error:
            self._down.add(name)
            logger.warning(
                "Target is down", extra={**fields, "reason": error.reason, "err": error}
            )
        else:
            self._down.remove(name)
            logger.info("Target is back", extra=fields)
