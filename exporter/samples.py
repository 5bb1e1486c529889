"""Converts readings to samples, by columns. Only this module has the names of the targets' metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from protocol.readings import Readings
from protocol.vocabulary import DOCUMENTATION, Command

_WRAP = 1 << 53
"""A sample is a double, exact below this. Counters wrap here, so that rate() and increase() stay right."""


def reason_label(target: int, reason: str) -> str:
    """The labels of a failure, where the target has none."""
    return f'{{reason="{reason}"}}'


@dataclass(frozen=True, slots=True)
class Samples:
    """Readings, and the labels of each: as text, `{site="eu",target="mail-1"}`, or nothing.

    `changed` is when the transforms were last changed by this exporter, in seconds since 1970, by target.
    `all_reasons`: every failure reason has a sample, not only that of a target that is down.
    """

    labels: Sequence[str]
    readings: Readings
    changed: Mapping[int, float] = field(default_factory=dict)
    all_reasons: bool = False
    error_labels: Callable[[int, str], str] = reason_label
    """The labels of a target with a failure reason among them."""


Column = Callable[[Samples], Sequence[float | None]]
"""One value per target, or None."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric of targets: what its values are, and how one is written."""

    name: str
    kind: str
    documentation: str
    source: Command | Column
    text: Callable[[float], str]

    def column(self, samples: Samples) -> Sequence[float | None]:
        if isinstance(self.source, Command):
            return samples.readings.values(self.source)
        return self.source(samples)


def sample_text(number: int | float) -> str:
    """A sample's value as the Go programs write it, with an exponent from a million on."""
    # Equal to the conversion to a float, in a third of the time.
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


def _counter_text(number: float) -> str:
    return sample_text(number % _WRAP)


def _family(command: Command) -> Family:
    name = f"smtpstatus_{command.value}"
    is_counter = name.endswith("_total")
    kind, text = ("counter", _counter_text) if is_counter else ("gauge", sample_text)
    return Family(name, kind, DOCUMENTATION[command], command, text)


def _up(samples: Samples) -> Sequence[float | None]:
    column: list[float | None] = [1] * len(samples.labels)
    for target in samples.readings.errors:
        column[target] = 0
    return column


def _changed(samples: Samples) -> Sequence[float | None]:
    return [samples.changed.get(target) for target in range(len(samples.labels))]


FAMILIES = (
    Family(
        "smtpstatus_up",
        "gauge",
        "Whether the last scrape of the target succeeded (1) or not (0).",
        _up,
        sample_text,
    ),
    *map(_family, DOCUMENTATION),
    Family(
        "smtpstatus_scrape_duration_seconds",
        "gauge",
        "Duration of the scrape of the target, including name resolution, in seconds.",
        lambda samples: samples.readings.seconds(),
        sample_text,
    ),
    Family(
        "smtpstatus_scrape_datagrams_sent",
        "gauge",
        "Datagrams sent to the target in this scrape, retransmissions included.",
        lambda samples: samples.readings.datagrams_sent(),
        sample_text,
    ),
    Family(
        "smtpstatus_scrape_retransmissions",
        "gauge",
        "Datagrams retransmitted in this scrape because no response arrived.",
        lambda samples: samples.readings.retransmissions(),
        sample_text,
    ),
    Family(
        "smtpstatus_transforms_changed_timestamp_seconds",
        "gauge",
        "Unix time of the last change of the transforms through this exporter.",
        _changed,
        sample_text,
    ),
)
"""Metric families with one sample per target."""

SCRAPE_ERROR = "smtpstatus_scrape_error"
SCRAPE_ERROR_DOCUMENTATION = "Why the scrape of the target failed: 1 for the reason."
