"""The exporter's own metrics."""

import platform
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

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

from exporter.reading import TargetReadings
from exporter.samples import sample_text
from protocol.errors import DiscardReason, FailureReason, Resource
from smtpstatus.version import __version__

_ROUND_TRIP_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip

_FEW = 100
"""Number of round trips that are faster to count one by one than to tally first."""

OUTCOMES = ("done", "denied", "invalid", "unsupported", "failed")
"""Outcomes of a write: `invalid` is an error of the request, `failed` one between the exporter and the server."""


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

    def observe(self, found: TargetReadings, strays: Mapping[DiscardReason, int]) -> None:
        """Counts the cost and the results of queries."""
        readings = found.readings
        self._requests.inc(len(readings))
        sent, again = readings.totals()
        self._sent.inc(sent)
        if again:
            self._retransmitted.inc(again)
        for discarded in (strays, *[one.cost.discarded for one in readings.others.values()]):
            for reason, count in discarded.items():
                self._discarded.labels(reason.value).inc(count)
        if errors := readings.errors:
            for failure, count in Tally(error.reason for error in errors.values()).items():
                self._failures.labels(failure.value).inc(count)
        self.round_trips.observe(readings.round_trips())

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
    """A histogram that counts the samples of a fleet together: those of a batch are equal."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_ROUND_TRIP_BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: Sequence[float]) -> None:
        counts = self._counts
        if len(seconds) < _FEW:
            for sample in seconds:
                counts[bisect_left(_ROUND_TRIP_BUCKETS, sample)] += 1
        else:
            for sample, count in Tally(seconds).items():
                counts[bisect_left(_ROUND_TRIP_BUCKETS, sample)] += count
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
