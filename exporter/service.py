"""The exporter without its web server: the configuration in use, its targets, metrics and history."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from hmac import compare_digest
from typing import NoReturn

from exporter.configuration.config import Config, Target
from exporter.dialect_warnings import DialectWarnings
from exporter.exposition import label_text
from exporter.history import History
from exporter.metrics import ExporterMetrics
from exporter.reading import TargetReading, TargetReadings
from exporter.samples import Samples
from exporter.secret_files import SecretThreads
from exporter.targets import Targets
from protocol.errors import DiscardReason, ReadbackMismatch
from protocol.reader import Reader
from protocol.readings import Readings
from smtpstatus.defect import as_config_error
from smtpstatus.errors import ConfigError
from smtpstatus.threads import DaemonThreads

logger = logging.getLogger(__name__)


_MAX_RELOAD_S = 60.0

_LOG_INTERVAL_S = 60.0
"""Minimum seconds between two lines about one target that is down: a client with a short timeout can let it fail."""


class ActiveConfig:
    """A configuration in use. A request uses the same one until its end, even after a reload."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.loaded_at = time.time()
        """In seconds since 1970."""
        self._labels = [label_text(_labels(target)) for target in targets.config.targets]

    @property
    def config(self) -> Config:
        return self.targets.config

    def samples(self, found: TargetReadings) -> Samples:
        """The samples of all targets: with their labels, and the failure reason of those that are down."""
        targets = self.config.targets

        def error_labels(row: int, reason: str) -> str:
            return label_text({**_labels(targets[row]), "reason": reason})

        changed = self.targets.changes()
        return Samples(self._labels, found.readings, changed, error_labels=error_labels)

    def sample(self, found: TargetReading) -> Samples:
        """The samples of one target: without labels, and with every failure reason."""
        changed = self.targets.changed(found.target) if found.target else None
        by_row = {} if changed is None else {0: changed}
        return Samples([""], Readings.of([found.reading]), by_row, all_reasons=True)


def _labels(target: Target) -> dict[str, str]:
    return {**target.labels, "target": target.name}


class Service:
    """The targets, the exporter's metrics and the history; the configuration is replaced as a whole."""

    def __init__(
        self, load: Callable[[], Config], external_url: str = "", *, loaded: Config | None = None
    ) -> None:
        """`loaded` is the first configuration, which is loaded if it is not given: that raises `ConfigError`."""
        self._load = load
        self._reloading = asyncio.Lock()
        self._next_reload: asyncio.Task[None] | None = None
        self._down: set[str] = set()
        """Targets that were last logged as down."""
        self._logged_at: dict[str, float] = {}
        """When each target was last logged as down."""
        self.own = ExporterMetrics(external_url)
        self.history = History()
        self._dialect_warnings = DialectWarnings()
        self.reader = Reader()
        self._secret_threads = SecretThreads()
        self._loading = DaemonThreads("configuration", 2)
        self.ready = False
        self.installed = self._prepared(loaded)
        self._activate()

    async def is_api_token(self, given: str) -> bool:
        """Whether a header's text `given` is the API token; compared in constant time."""
        secret = self.installed.config.api.secret
        if secret is None:
            return False
        await self.installed.targets.refresh(secret)
        octets = given.encode("latin-1")  # as headers are decoded
        return compare_digest(octets, secret.text.encode())

    async def reload(self) -> None:
        """Reloads the configuration, as a whole. Raises `ConfigError`; the previous one then stays in use.

        Calls during a reload share the next one.
        """
        if self._next_reload is None:
            self._next_reload = asyncio.create_task(self._reload())
        await asyncio.shield(self._next_reload)

    async def _reload(self) -> None:
        async with self._reloading:
            # Later calls may be about a change that this reload misses.
            self._next_reload = None
            self.own.reloads.inc()
            try:
                async with asyncio.timeout(_MAX_RELOAD_S):
                    installed = await self._loading.run(self._prepared)
                installed.targets.inherit(self.installed.targets)
                self.installed = installed
                self._activate()
            except TimeoutError:
                self._reload_failed(
                    ConfigError("timeout: a file system does not answer: mount it again")
                )
            except Exception as error:
                self._reload_failed(as_config_error(error))
            count = len(installed.config.targets)
            logger.info("Configuration loaded", extra={"targets": count})

    def _reload_failed(self, error: ConfigError) -> NoReturn:
        self.own.reload_failures.inc()
        self.own.reload_successful.set(0)
        logger.error(
            "Configuration reload failed; keeping the previous configuration", extra={"err": error}
        )
        raise error from None

    def _prepared(self, loaded: Config | None = None) -> ActiveConfig:
        """Loads the configuration. Takes long for a large fleet, and may block: it runs in a thread."""
        config = loaded or self._load()
        return ActiveConfig(Targets(config, self._observe, self.reader, self._secret_threads))

    def _activate(self) -> None:
        names = {target.name for target in self.installed.config.targets}
        self.history.forget(names)
        self._dialect_warnings.clear()
        self._down &= names
        self._logged_at = {name: at for name, at in self._logged_at.items() if name in names}
        self.own.targets.set(len(names))
        self.own.reload_successful.set(1)
        self.own.reload_timestamp.set(time.time())

    def _observe(
        self, found: TargetReadings, strays: Mapping[DiscardReason, int]
    ) -> Iterator[None]:
        """Yields to the event loop, as thousands of failures take long."""
        self.own.observe(found, strays)
        yield
        yield from self.history.observe(found)
        self._dialect_warnings.observe(found)
        if logger.isEnabledFor(logging.DEBUG):
            for reading in found:
                _log_reading(reading)
                yield
        errors = found.readings.errors
        for row in errors:
            if (target := found.targets[row]) and target.name not in self._down:
                self._log_change(target.name, found[row])
                yield
        for name in self._down & found.rows.keys():
            # Another reading, or a reload, may have come in between.
            if name in self._down and found.rows[name] not in errors:
                self._log_change(name, found[found.rows[name]])
                yield

    def _log_change(self, name: str, scrape: TargetReading) -> None:
        """Logs one line when a target goes down, at most once a minute, and one when it is back."""
        error = scrape.reading.error
        if isinstance(error, ReadbackMismatch):
            return  # the server answered, and the response to the write reports it
        fields = {"target": name, "address": str(scrape.where)}
        if error:
            now = time.monotonic()
            if now < self._logged_at.get(name, -math.inf) + _LOG_INTERVAL_S:
                return  # the next reading logs it, if it is still down then
            self._logged_at[name] = now
            self._down.add(name)
            logger.warning(
                "Target is down", extra={**fields, "reason": error.reason, "err": error}
            )
        else:
            self._down.remove(name)
            logger.info("Target is back", extra=fields)


def _log_reading(scrape: TargetReading) -> None:
    reading, cost = scrape.reading, scrape.reading.cost
    fields = {
        "target": scrape.target.name if scrape.target else "",
        "address": str(scrape.where),
        "up": reading.error is None,
        "seconds": round(reading.seconds, 6),
        "datagrams": cost.datagrams_sent,
        "retransmissions": cost.retransmissions,
    }
    if reading.error:
        fields |= {"reason": reading.error.reason.value, "err": str(reading.error)}
    logger.debug("Server read", extra=fields)
