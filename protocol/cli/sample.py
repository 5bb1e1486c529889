"""A reading of a watched server, compared with the last good reading before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from protocol.cli.output import as_json, human_bytes, human_value, label
from protocol.client import Reading
from protocol.dialect import Dialect
from protocol.vocabulary import COUNTERS, Command


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading and the time of day at its end.

    `rates` are per second since the last good reading; there are none without one, nor after a restart. `wrapped` are
    the counters that started again at zero because they had reached their largest value.
    """

    when: datetime
    reading: Reading
    rates: Mapping[Command, float] = field(default_factory=dict)
    restarted: bool = False
    wrapped: frozenset[Command] = frozenset()


def compare(
    before: Reading | None, reading: Reading, seconds: float, when: datetime, dialect: Dialect
) -> Sample:
    """Compare a reading with the last good one, `seconds` earlier."""
    if before is None or before.error or reading.error:
        return Sample(when, reading)
    growth = {
        command: int(reading[command] or 0) - int(before[command] or 0)
        for command in reading.values
        if command in COUNTERS
    }
    fallen = {command for command, difference in growth.items() if difference < 0}
    if fallen:
        if not _have_wrapped(fallen, growth, before, dialect):
            return Sample(when, reading, restarted=True)
        for command in fallen:
            growth[command] += _modulus(command, dialect)
    rates = {command: difference / seconds for command, difference in growth.items()}
    return Sample(when, reading, rates, wrapped=frozenset(fallen))


def _have_wrapped(
    fallen: set[Command], growth: Mapping[Command, int], before: Reading, dialect: Dialect
) -> bool:
    """Whether the counters that fell have wrapped: narrow ones, while the other counters increased.

    After a restart all counters are small, so that most have fallen. If no other counter increased, a wrap is only
    assumed from the upper half of the range, by less than half of it.
    """
    others = growth.keys() - fallen
    if not others or any(_modulus(command, dialect) >= 1 << 64 for command in fallen):
        return False
    if any(growth[command] > 0 for command in others):
        return True
    return all(
        2 * int(before[command] or 0) >= _modulus(command, dialect)
        and 2 * (growth[command] + _modulus(command, dialect)) < _modulus(command, dialect)
        for command in fallen
    )


def _modulus(command: Command, dialect: Dialect) -> int:
    value = dialect.operations[command].value
    return 1 << 8 * (value.size if value else 8)


def sample_as_json(target: str, dialect: Dialect, sample: Sample) -> dict[str, object]:
    """The keys of a reading, the time, the rates per second, and whether the server restarted."""
    return {
        "time": sample.when.isoformat(timespec="milliseconds"),
        **as_json(target, dialect, sample.reading),
        "per_second": {command.value: rate for command, rate in sample.rates.items()},
        "restarted": sample.restarted,
        "wrapped": sorted(command.value for command in sample.wrapped),
    }


def sample_as_line(sample: Sample) -> str:
    """One line for a file or a pipe."""
    words = [f"{sample.when:%H:%M:%S}"]
    if sample.reading.error:
        return f"{words[0]}  {sample.reading.error}"
    for command, value in sample.reading.values.items():
        rate = rate_text(command, sample)
        words.append(f"{label(command)} {human_value(value)}{rate and ' ' + rate}")
    if sample.restarted:
        words.append("restarted")
    words += [f"{label(command)} wrapped" for command in sorted(sample.wrapped)]
    return "  ".join(words)


def rate_text(command: Command, sample: Sample) -> str:
    """`51.2 kB/s` or `0.25/s`; empty without a rate."""
    rate = sample.rates.get(command)
    if rate is None:
        return ""
    return f"{human_bytes(rate)}/s" if "bytes" in command else f"{rate:.3g}/s"
