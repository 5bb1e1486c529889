"""How long a scrape may take, from what Prometheus says of its own patience."""

import math

HEADER = "X-Prometheus-Scrape-Timeout-Seconds"


def budget(header: str | None, offset: float, timeout: float) -> float:
    """Seconds: the scraper's own less `offset`, which never takes more than half of them, and `timeout` at most.

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
    return min(max(seconds - offset, seconds / 2), timeout)
