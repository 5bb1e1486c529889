"""What becomes of readings as metrics, and the exporter's own: every metric name stands here and nowhere else."""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import HistogramMetricFamily

from exporter.targets import TargetReading
from protocol.client import Reading
from protocol.errors import DiscardReason, FailureReason, Resource
from protocol.vocabulary import DOCUMENTATION, Command
from smtpstatus.version import __version__

_WRAP = 1 << 53
"""A sample is a double, exact below this. Counters wrap here, so that rate() and increase() stay right."""

_ROUND_TRIP_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip

OUTCOMES = ("done", "denied", "invalid", "unsupported", "failed")
"""What becomes of a write: a wrong request is invalid; failed is between the exporter and the server."""


class Row(NamedTuple):
    """What one target said, and the labels that its samples get.

    `changed` is when its transforms were last changed from here, in seconds since 1970.
    `reasons` are those whose failures are shown: on /probe all, on /metrics its own.
    """

    labels: Mapping[str, str]
    label_text: str
    """The labels as they stand in a line: `{site="eu",target="mail-1"}`, or nothing."""
    reading: Reading
    changed: float | None
    reasons: Sequence[FailureReason]


Column = Callable[[Sequence[Row]], list[str | None]]
"""The samples of some targets as text, None for one that has none; empty if none has."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric, and what its samples are."""

    name: str
    kind: str
    documentation: str
    column: Column


def sample_text(number: int | float) -> str:
    """A sample's value as the Go programs write it, with an exponent from a million on."""
    # To the letter the same as by way of a float, in a third of the time.
    if number.__class__ is int and 0 <= number < _WRAP:
        if number < 1_000_000:
            return f"{number}.0"
        text = str(number)
        point = len(text)
    else:
        text = repr(float(number))
        point = text.find(".")
        if point <= 6 or number <= 0:
            return text
        text = text[:point] + text[point + 1 :]
    return f"{text[0]}.{text[1:]}".rstrip("0.") + f"e+{point - 1:02d}"


def _counter_text(number: int) -> str:
    return sample_text(number % _WRAP)


def _quantity(command: Command) -> Family:
    name = f"smtpstatus_{command.value}"
    is_counter = name.endswith("_total")
    text = _counter_text if is_counter else sample_text

    def column(rows: Sequence[Row]) -> list[str | None]:
        found = [row.reading.values.get(command) for row in rows]
        # Most targets have no more than four of all quantities.
        if found.count(None) == len(found):
            return []
        return [None if number is None else text(number) for number in found]

    return Family(name, "counter" if is_counter else "gauge", DOCUMENTATION[command], column)


def _up(rows: Sequence[Row]) -> list[str | None]:
    return ["0.0" if row.reading.error else "1.0" for row in rows]


def _seconds(rows: Sequence[Row]) -> list[str | None]:
    return [sample_text(row.reading.seconds) for row in rows]


def _datagrams_sent(rows: Sequence[Row]) -> list[str | None]:
    return [sample_text(row.reading.cost.datagrams_sent) for row in rows]


def _retransmissions(rows: Sequence[Row]) -> list[str | None]:
    return [sample_text(row.reading.cost.retransmissions) for row in rows]


def _changed(rows: Sequence[Row]) -> list[str | None]:
    if all(row.changed is None for row in rows):
        return []
    return [None if row.changed is None else sample_text(row.changed) for row in rows]


FAMILIES = (
    Family(
        "smtpstatus_up",
        "gauge",
        "Whether the last scrape of the target succeeded (1) or not (0).",
        _up,
    ),
    *map(_quantity, DOCUMENTATION),
    Family(
        "smtpstatus_scrape_duration_seconds",
        "gauge",
        "Duration of the scrape of the target, including name resolution, in seconds.",
        _seconds,
    ),
    Family(
        "smtpstatus_scrape_datagrams_sent",
        "gauge",
        "Datagrams sent to the target in this scrape, retransmissions included.",
        _datagrams_sent,
    ),
    Family(
        "smtpstatus_scrape_retransmissions",
        "gauge",
        "Datagrams retransmitted in this scrape because no response arrived.",
        _retransmissions,
    ),
    Family(
        "smtpstatus_transforms_changed_timestamp_seconds",
        "gauge",
        "Unix time of the last change of the transforms through this exporter.",
        _changed,
    ),
)
"""What a target has one sample of."""

SCRAPE_ERROR = "smtpstatus_scrape_error"
SCRAPE_ERROR_DOCUMENTATION = "Why the scrape of the target failed: 1 for the reason."


class ExporterMetrics:
    """The exporter's own metrics, in a registry of their own."""

    def __init__(self, external_url: str = "") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = Gauge(
            "smtpstatus_exporter_build_info",
            "Version of the exporter and of Python, and its external URL; constant 1.",
            ("version", "python_version", "external_url"),
            registry=registry,
        )
        build.labels(__version__, platform.python_version(), external_url).set(1)
        self._requests = self._counter("requests", "Target reads performed.")
        self._failures = self._counter(
            "failures", "Target reads that failed, by reason.", "reason", FailureReason
        )
        self._sent = self._counter("datagrams_sent", "Datagrams sent, retransmissions included.")
        self._retransmitted = self._counter("datagrams_retransmitted", "Datagrams retransmitted.")
        self._discarded = self._counter(
            "datagrams_discarded",
            "Datagrams received and discarded, by reason.",
            "reason",
            DiscardReason,
        )
        self.round_trips = RoundTrips()
        registry.register(self.round_trips)
        self.targets = self._gauge("targets", "Configured targets.")
        self.in_flight = self._gauge(
            "scrapes_in_flight", "Requests to /metrics and /probe in progress."
        )
        self.rejected = self._counter(
            "scrapes_rejected", "Requests to /metrics and /probe rejected with 503."
        )
        self.shortages = self._counter(
            "shortages", "Requests rejected for lack of a resource.", "resource", Resource
        )
        self.reloads = self._counter("config_reloads", "Configuration reloads attempted.")
        self.reload_failures = self._counter(
            "config_reload_failures", "Configuration reloads that failed."
        )
        self.reload_successful = self._gauge(
            "config_last_reload_successful",
            "Whether the last configuration reload succeeded (1) or not (0).",
        )
        self.reload_timestamp = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "Unix time of the last successful configuration load.",
        )
        self.writes = self._counter(
            "writes", "Requests to switch the transforms, by outcome.", "outcome", OUTCOMES
        )

    def observe(
        self, scrapes: Sequence[TargetReading], strays: Mapping[DiscardReason, int]
    ) -> None:
        """Count what an exchange with servers cost and brought."""
        self._requests.inc(len(scrapes))
        sent = retransmitted = 0
        discarded = dict(strays)
        samples: list[float] = []
        for scrape in scrapes:
            cost = scrape.reading.cost
            sent += cost.datagrams_sent
            retransmitted += cost.retransmissions
            samples += cost.round_trips
            for reason, count in cost.discarded.items():
                discarded[reason] = discarded.get(reason, 0) + count
            if error := scrape.reading.error:
                self._failures.labels(error.reason.value).inc()
        self._sent.inc(sent)
        if retransmitted:
            self._retransmitted.inc(retransmitted)
        for reason, count in discarded.items():
            self._discarded.labels(reason.value).inc(count)
        self.round_trips.observe(samples)

    def _counter(
        self, name: str, documentation: str, label: str = "", values: Iterable[str] = ()
    ) -> Counter:
        """A counter, at zero for every value of its label."""
        full = f"smtpstatus_exporter_{name}_total"
        names = (label,) if label else ()
        counter = Counter(full, documentation, names, registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(f"smtpstatus_exporter_{name}", documentation, registry=self.registry)


class RoundTrips:
    """A histogram that takes a fleet's samples at once: one by one they would cost more than the sockets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_ROUND_TRIP_BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: Sequence[float]) -> None:
        counts = self._counts
        for sample in seconds:
            counts[bisect_left(_ROUND_TRIP_BUCKETS, sample)] += 1
        self._sum += sum(seconds)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        bounds = (*_ROUND_TRIP_BUCKETS, float("inf"))
        yield HistogramMetricFamily(
            "smtpstatus_exporter_round_trip_seconds",
            "Round-trip time of requests answered on the first transmission, in seconds.",
            buckets=[
                (sample_text(bound).replace("inf", "+Inf"), float(count))
                for bound, count in zip(bounds, accumulate(self._counts), strict=True)
            ],
            sum_value=self._sum,
        )
