"""Hours of samples of a fleet, written as blocks of Prometheus' database by promtool."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 7200
"""Seconds in a block. promtool reads its whole input once for each block, so each gets an input of its own."""
_JOB, _INSTANCE = "smtpstatus", "exporter:17030"
_RECORDED_INTERVAL = 30
_GAUGES = {
    "smtpstatus_active_connections": 3,
    "smtpstatus_transforms_enabled": 1,
    "smtpstatus_scrape_duration_seconds": 0.004,
    "smtpstatus_scrape_datagrams_sent": 4,
    "smtpstatus_scrape_retransmissions": 0,
}
"""Gauges of a server that is up. One in 50 is down, with an error and no counters."""
_PER_SERVER = {
    "instance_target:smtpstatus_connections:rate5m": 1.5,
    "instance_target:smtpstatus_up:avg5m": 1,
    "instance_target:smtpstatus_up:avg1d": 1,
    "instance_target:smtpstatus_scrape_retransmissions:ratio5m": 0,
}
_PER_EXPORTER = (
    "instance:smtpstatus_up:count",
    "instance:smtpstatus_up:timestamp_max",
    "instance:smtpstatus_connections:rate5m_sum",
    "instance:smtpstatus_connections:rate2m_sum",
    "instance:smtpstatus_transferred_bytes:rate2m_sum",
    "instance:smtpstatus_active_connections:sum",
    "instance:smtpstatus_transforms_disabled:count",
    "instance:smtpstatus_scrape_retransmissions:ratio5m",
    "instance:smtpstatus_scrape_retransmissions:ratio5m_max",
    "instance:smtpstatus_scrape_duration_seconds:p50",
    "instance:smtpstatus_scrape_duration_seconds:p99",
)


@dataclass(frozen=True, slots=True)
class History:
    """`servers` scraped every `interval` seconds from `start` to `end`, in Unix seconds."""

    servers: int
    start: int
    end: int
    interval: int = 5

    def write(self, folder: Path, data: Path) -> None:
        """Writes the blocks into `data`. Raises `subprocess.CalledProcessError`."""
        file = folder / "history.om"
        start = self.start
        while start < self.end:
            end = min(self.end, start - start % _BLOCK + _BLOCK)
            with file.open("w") as output:
                output.writelines(self.text(start, end))
            command = ("promtool", "tsdb", "create-blocks-from", "openmetrics", file, data)
            subprocess.run(command, check=True, capture_output=True)
            start = end
        file.unlink()

    def text(self, start: int, end: int) -> Iterator[str]:
        """The samples of this part of the time as OpenMetrics."""
        scrapes = range(start, end, self.interval)
        names = [f"mx-{number:04}.example.net" for number in range(self.servers)]
        down, up = names[::50], [name for index, name in enumerate(names) if index % 50]

        yield "# TYPE smtpstatus_up gauge\n"
        yield from _constant("smtpstatus_up", [_labels(name) for name in up], 1, scrapes)
        yield from _constant("smtpstatus_up", [_labels(name) for name in down], 0, scrapes)
        for number, family in enumerate(
            ("smtpstatus_connections", "smtpstatus_transferred_bytes")
        ):
            yield f"# TYPE {family} counter\n"
            for index, name in enumerate(up):
                series = f"{family}_total{{{_labels(name)}}}"
                pace = (1 + index % 7) * (1 + 20_000 * number)
                counted = ((at - self.start) * pace + at * 7919 % 13 for at in scrapes)
                yield "".join(
                    f"{series} {value} {at}\n" for value, at in zip(counted, scrapes, strict=True)
                )
        for gauge, value in _GAUGES.items():
            yield f"# TYPE {gauge} gauge\n"
            yield from _constant(gauge, [_labels(name) for name in up], value, scrapes)
        yield "# TYPE smtpstatus_scrape_error gauge\n"
        failed = [f'{_labels(name)},reason="timeout"' for name in down]
        yield from _constant("smtpstatus_scrape_error", failed, 1, scrapes)
        yield from self._recorded(range(start, end, _RECORDED_INTERVAL), up, len(down))
        yield "# EOF\n"

    @staticmethod
    def _recorded(times: range, up: Sequence[str], down: int) -> Iterator[str]:
        exporter = f'job="{_JOB}",instance="{_INSTANCE}"'
        for name, value in _PER_SERVER.items():
            yield f"# TYPE {name} gauge\n"
            yield from _constant(name, [_labels(server) for server in up], value, times)
        for name in _PER_EXPORTER:
            yield f"# TYPE {name} gauge\n"
            yield from _constant(name, [exporter], 1, times)
        errors = "instance_reason:smtpstatus_scrape_error:count"
        yield f"# TYPE {errors} gauge\n"
        yield from _constant(errors, [f'{exporter},reason="timeout"'], down, times)


def _labels(server: str) -> str:
    return f'job="{_JOB}",instance="{_INSTANCE}",target="{server}"'


def _constant(name: str, labels: Sequence[str], value: float, times: range) -> Iterator[str]:
    samples = [f" {value} {at}\n" for at in times]
    for found in labels:
        series = f"{name}{{{found}}}"
        yield "".join([series + sample for sample in samples])
