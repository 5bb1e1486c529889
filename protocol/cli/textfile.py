"""Readings in Prometheus' text format, for node_exporter's textfile collector.

Names, types and HELP texts are those of the exporter's /metrics.
"""

from collections.abc import Iterator, Mapping

from protocol.client import Reading
from protocol.vocabulary import COUNTERS, DOCUMENTATION, Command

_EXACT = 1 << 53
"""Counters wrap at this value, above which a double is not exact, as in the exporter."""

UP = ("smtpstatus_up", "Whether the last scrape of the target succeeded (1) or not (0).")
DURATION = (
    "smtpstatus_scrape_duration_seconds",
    "Duration of the scrape of the target, including name resolution, in seconds.",
)


def as_prometheus(readings: Mapping[str, Reading]) -> str:
    """The metrics of every target, with the label `target`. A failed reading has no counters."""
    up = {target: int(reading.error is None) for target, reading in readings.items()}
    seconds = {target: reading.seconds for target, reading in readings.items()}
    lines = [*_family(*UP, "gauge", up)]
    for command, text in DOCUMENTATION.items():
        samples = _samples(command, readings)
        kind = "counter" if command in COUNTERS else "gauge"
        lines += _family(f"smtpstatus_{command.value}", text, kind, samples)
    lines += _family(*DURATION, "gauge", seconds)
    return "".join(f"{line}\n" for line in lines)


def _samples(command: Command, readings: Mapping[str, Reading]) -> dict[str, int]:
    found = {}
    for target, reading in readings.items():
        value = reading.values.get(command)
        if value is not None:
            found[target] = int(value) % _EXACT if command in COUNTERS else int(value)
    return found


def _family(
    name: str, documentation: str, kind: str, samples: Mapping[str, int | float]
) -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {name} {documentation}"
    yield f"# TYPE {name} {kind}"
    for target, value in samples.items():
        yield f'{name}{{target="{_escaped(target)}"}} {value!r}'


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
