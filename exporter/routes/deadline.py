"""Deadline of a reading, from the scraper's timeout and the configuration's."""

import asyncio
import math
from http import HTTPStatus

from starlette.requests import Request

from exporter.http.responses import Problem
from exporter.routes.context import context_of

_FLOOR_S = 0.1
"""Minimum seconds of a reading, even for a scraper with a shorter timeout, as others may share the reading."""

HEADER = "X-Prometheus-Scrape-Timeout-Seconds"


def budget(header: str | None, offset: float, timeout: float) -> float:
    """Returns the scraper's timeout less `offset` (at most half of it) in seconds, between a minimum and `timeout`.

    Raises `ValueError` for a header that is not a positive number of seconds.
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


def deadline_of(request: Request) -> float:
    """Returns the deadline of the response on the event loop's clock. Raises `Problem` for an invalid header."""
    context = context_of(request)
    offset, timeout = context.options.timeout_offset_s, context.active.config.timeout
    try:
        seconds = budget(request.headers.get(HEADER), offset, timeout)
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
    return asyncio.get_running_loop().time() + seconds
