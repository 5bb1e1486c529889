"""Durations as people write them: `700ms`, `2s`, `5m`, `1h`."""

import re


def seconds(text: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)", text)
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is no duration: write it like 700ms, 2s, 5m or 1h")
    return float(found[1]) * units[found[2]]


def duration(seconds: float) -> str:
    """Write milliseconds or more as `seconds` reads it."""
    for unit, length in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms"
