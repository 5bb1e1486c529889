"""How long a scrape may take, from what Prometheus says of its own patience."""

import math

_FLOOR_S = 0.1
"""Seconds that a reading has at least, also for a scraper that gives up before: others may share the reading."""

HEADER = "X-Prometheus-Scrape-Timeout-Seconds"


def budget(header: str | None, offset: float, timeout: float) -> float:
    """Seconds: the scraper's less `offset`, which takes half of them at most; at least a floor, at most `timeout`.

    Raises `ValueError` for a header that is no positive number of seconds.
    """
    if header is None:
        return timeout
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{HEADER} must be a number of seconds above zero")
    return min(max(seconds - offset, seconds / 2, _FLOOR_S), timeout)
