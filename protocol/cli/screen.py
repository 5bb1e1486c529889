"""Charts of one server on a terminal, redrawn in place. The terminal's modes are not changed.

Numbers are never truncated: where a line is too narrow, first the chart is left out, then the rate, and then the value
moves to a line of its own.
"""

from collections import deque
from os import terminal_size
from textwrap import wrap
from typing import TextIO

from protocol.cli.output import human_seconds, human_value, label, round_trip
from protocol.cli.sample import Sample, rate_text, sample_as_line
from protocol.dialect import Dialect
from protocol.vocabulary import COUNTERS, Command

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-~=+*#"
_HISTORY = 240
"""Samples kept for the charts, more than a terminal is wide."""

_NARROWEST_CHART = 8


class Screen:
    """One server's charts on `terminal`."""

    def __init__(self, target: str, dialect: Dialect, terminal: TextIO) -> None:
        self._target = target
        self._dialect = dialect
        self._terminal = terminal
        self._history: deque[Sample] = deque(maxlen=_HISTORY)
        self._good: Sample | None = None
        """The last sample with a reading: its values are shown while readings fail."""
        self._restarts = 0
        self._size: terminal_size | None = None
        self._drawn_rows = 0
        unicode = _can_encode(terminal, f"{_BARS}·↺")
        self._bars, self._no_answer, self._restart = (
            (_BARS, "·", "↺") if unicode else (_ASCII_BARS, "?", "R")
        )

    def draw(self, sample: Sample, size: terminal_size) -> None:
        """Draw the newest sample over the previous one. After a change of the size the screen is cleared first."""
        self._history.append(sample)
        self._restarts += sample.restarted
        if not sample.reading.error:
            self._good = sample
        lines = self._lines(size.columns - 1)
        rows = sum(1 + (len(line) - 1) // max(size.columns, 1) for line in lines)
        if rows >= size.lines:  # redrawing needs all rows to be on the screen
            self._terminal.write(f"{sample_as_line(sample)}\n")
            self._terminal.flush()
            self._drawn_rows = 0
            return
        if self._size is not None and size != self._size:
            start = "\x1b[H\x1b[2J"
        else:
            start = f"\x1b[{self._drawn_rows}F" if self._drawn_rows else ""
        # The previous screen may have had more lines: erase everything below.
        self._terminal.write(start + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._terminal.flush()
        self._size, self._drawn_rows = size, rows

    def _lines(self, width: int) -> list[str]:
        lines = _folded(self._header(), width)
        for command in self._dialect.reads:
            lines += self._line(command, width)
        return lines

    def _header(self) -> str:
        sample = self._history[-1]
        trip = round_trip(sample.reading)
        state = f"no reading: {sample.reading.error}" if sample.reading.error else "up"
        words = [state]
        if sample.reading.error and self._good:
            words.append(f"values of {self._good.when:%H:%M:%S}")
        if trip is not None:
            words.append(f"round trip {human_seconds(trip)}")
        if self._restarts:
            words.append(f"restarts seen: {self._restarts}")
        words += [f"{label(command)} wrapped" for command in sorted(sample.wrapped)]
        return f"{self._target}  {sample.when:%H:%M:%S}  {', '.join(words)}"

    def _line(self, command: Command, width: int) -> list[str]:
        """One quantity: with rate and chart, or as much of them as fits."""
        sample = self._history[-1]
        shown = (self._good or sample).reading.values
        name, value = label(command), human_value(shown.get(command))
        rate = rate_text(command, sample)
        full = f"{name:<24}{value:>16}{rate and ' ' + rate:>12}"
        if (left := width - len(full) - 2) >= _NARROWEST_CHART:
            return [f"{full}  {self._chart(command, left)}".rstrip()]
        for shorter in (f"{name:<18} {value:>12} {rate:>10}", f"{name} {value} {rate}"):
            if len(shorter.rstrip()) <= width:
                return [shorter.rstrip()]
        if len(f"{name} {value}") <= width:
            return [f"{name} {value}"]
        return [*_folded(name, width), value]

    def _chart(self, command: Command, width: int) -> str:
        """The last `width` rates of a counter, or the values of a gauge, as bars from zero to the largest."""
        shown = list(self._history)[-width:]
        heights = [_height(command, sample) for sample in shown]
        largest = max((height for height in heights if height is not None), default=0) or 1
        return "".join(
            self._bar(sample, height, largest)
            for sample, height in zip(shown, heights, strict=True)
        )

    def _bar(self, sample: Sample, height: float | None, largest: float) -> str:
        if sample.restarted:
            return self._restart
        if height is None:
            return self._no_answer if sample.reading.error else " "
        return self._bars[round(height / largest * (len(self._bars) - 1))]


def _height(command: Command, sample: Sample) -> float | None:
    if command in COUNTERS:
        return sample.rates.get(command)
    value = sample.reading.values.get(command)
    return None if value is None else float(value)


def _folded(text: str, width: int) -> list[str]:
    """`text` in lines of `width` characters, broken between words only."""
    return wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)


def _can_encode(terminal: TextIO, text: str) -> bool:
    try:
        text.encode(terminal.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
