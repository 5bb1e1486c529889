"""Durations in Prometheus' notation: `700ms`, `2s`, `1m30s`; bare numbers are seconds."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(f"({_NUMBER})(ms|s|m|h|d)", re.ASCII)
_WHOLE = re.compile(f"(?:{_NUMBER}(?:ms|s|m|h|d))+", re.ASCII)


def parse_duration(text: str) -> float:
    """The seconds that `text` means, more than zero. Raises `ValueError` with the accepted forms."""
    if re.fullmatch(_NUMBER, text, re.ASCII):
        seconds = float(text)
    elif _WHOLE.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        raise ValueError(
            f"invalid duration {text!r}: write 700ms, 2s, 1m30s, or a number of seconds"
        )
    if not 0 < seconds < 1e9:
        raise ValueError(f"duration {text!r} is out of range: expected more than 0")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest form that `parse_duration` reads back, to the millisecond."""
    for unit, length in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms"
