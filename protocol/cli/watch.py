"""A server watched: a reading at every interval, what changed since the last one, and a chart that moves."""

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from shutil import get_terminal_size
from typing import Literal, TextIO

from protocol.cli.output import (
    as_json,
    human_bytes,
    human_seconds,
    human_value,
    label,
    round_trip,
)
from protocol.client import Peer, Reading, connect
from protocol.dialect import Dialect
from protocol.vocabulary import COUNTERS, Command

_BARS = "▁▂▃▄▅▆▇█"
_NO_ANSWER = "·"
_RESTART = "↺"
_HISTORY = 240
"""Samples kept for the charts: more than a terminal is wide."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading, the time of day at its end, and what it says next to the one before it.

    `rates` are per second; a counter has none without two readings in a row, nor after a restart.
    """

    when: datetime
    reading: Reading
    rates: Mapping[Command, float]
    restarted: bool = False


async def follow(
    target: str,
    peer: Peer,
    *,
    interval: float,
    timeout: float,
    count: int | None,
    form: Literal["screen", "lines", "json"],
) -> Reading:
    """Print every sample to standard output; returns the last reading."""
    screen = Screen(target, peer.dialect, sys.stdout)
    reading = Reading()
    async for sample in samples(peer, interval=interval, timeout=timeout, count=count):
        reading = sample.reading
        if form == "json":
            print(json.dumps(sample_as_json(target, peer.dialect, sample)), flush=True)
        elif form == "lines":
            print(sample_as_line(sample), flush=True)
        else:
            screen.draw(sample, get_terminal_size().columns)
    return reading


async def samples(
    peer: Peer, *, interval: float, timeout: float, count: int | None = None
) -> AsyncIterator[Sample]:
    """Read `peer` every `interval` seconds, `count` times or without end. A late reading delays no other."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    before = None
    before_at = start
    number = 0
    async with connect(peer) as connection:
        while count is None or number < count:
            await asyncio.sleep(start + number * interval - loop.time())
            reading = await connection.read(deadline=loop.time() + timeout)
            now = loop.time()
            yield compare(before, reading, now - before_at, datetime.now())
            before, before_at = reading, now
            number += 1


def compare(before: Reading | None, reading: Reading, seconds: float, when: datetime) -> Sample:
    """What a reading says next to the one `seconds` before it. A counter that fell means a restart."""
    if before is None or before.error or reading.error:
        return Sample(when, reading, {})
    grown = {
        command: int(reading[command] or 0) - int(before[command] or 0)
        for command in reading.values
        if command in COUNTERS
    }
    if any(growth < 0 for growth in grown.values()):
        return Sample(when, reading, {}, restarted=True)
    return Sample(when, reading, {command: growth / seconds for command, growth in grown.items()})


def sample_as_json(target: str, dialect: Dialect, sample: Sample) -> dict[str, object]:
    """A reading's keys, the time, the rates per second, and whether the server started again."""
    return {
        "time": sample.when.isoformat(timespec="milliseconds"),
        **as_json(target, dialect, sample.reading),
        "per_second": {command.value: rate for command, rate in sample.rates.items()},
        "restarted": sample.restarted,
    }


def sample_as_line(sample: Sample) -> str:
    """One line for a file or a pipe."""
    words = [f"{sample.when:%H:%M:%S}"]
    if sample.reading.error:
        return f"{words[0]}  {sample.reading.error}"
    for command, value in sample.reading.values.items():
        words.append(f"{label(command)} {human_value(value)}{_rate(command, sample)}")
    if sample.restarted:
        words.append("restarted")
    return "  ".join(words)


class Screen:
    """The charts of one server on a terminal, drawn over themselves. It changes no mode of the terminal."""

    def __init__(self, target: str, dialect: Dialect, terminal: TextIO) -> None:
        self._target = target
        self._dialect = dialect
        self._terminal = terminal
        self._history: deque[Sample] = deque(maxlen=_HISTORY)
        self._restarts = 0
        self._drawn = 0

    def draw(self, sample: Sample, width: int) -> None:
        self._history.append(sample)
        self._restarts += sample.restarted
        lines = [line[: width - 1] for line in self._lines(width)]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._terminal.write(up + "".join(f"{line}\x1b[K\n" for line in lines))
        self._terminal.flush()
        self._drawn = len(lines)

    def _lines(self, width: int) -> list[str]:
        sample = self._history[-1]
        state = f"no reading: {sample.reading.error}" if sample.reading.error else "up"
        trip = round_trip(sample.reading)
        took = "" if trip is None else f", round trip {human_seconds(trip)}"
        restarts = f", restarts seen: {self._restarts}" if self._restarts else ""
        lines = [f"{self._target}  {sample.when:%H:%M:%S}  {state}{took}{restarts}"]
        for command in self._dialect.reads:
            value = sample.reading.values.get(command)
            said = f"{label(command):<24}{human_value(value):>16}{_rate(command, sample):>12}"
            lines.append(f"{said}  {self._chart(command, width - len(said) - 3)}")
        return lines

    def _chart(self, command: Command, width: int) -> str:
        """The last `width` rates of a counter, or the values of a gauge, as bars from zero to the largest."""
        shown = list(self._history)[-width:] if width > 0 else []
        heights = [_height(command, sample) for sample in shown]
        largest = max((height for height in heights if height is not None), default=0) or 1
        return "".join(
            _bar(sample, height, largest) for sample, height in zip(shown, heights, strict=True)
        )


def _height(command: Command, sample: Sample) -> float | None:
    if command in COUNTERS:
        return sample.rates.get(command)
    value = sample.reading.values.get(command)
    return None if value is None else float(value)


def _bar(sample: Sample, height: float | None, largest: float) -> str:
    if sample.restarted:
        return _RESTART
    if height is None:
        return _NO_ANSWER if sample.reading.error else " "
    return _BARS[round(height / largest * (len(_BARS) - 1))]


def _rate(command: Command, sample: Sample) -> str:
    rate = sample.rates.get(command)
    if rate is None:
        return ""
    return f" {human_bytes(rate)}/s" if "bytes" in command else f" {rate:.3g}/s"
