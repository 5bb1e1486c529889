"""A scraper that hangs up is not worked for any longer."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from exporter.http.responses import Problem

T = TypeVar("T")

_SOON = 0.05
"""Seconds in which most work is done: to watch the client meanwhile would cost as much as a probe."""


async def while_connected(request: Request, work: Coroutine[None, None, T]) -> T:
    """The work's result. When the client goes first, the work is cancelled, and `ClientDisconnect` raised.

    Raises `Problem` when the exporter shuts down.
    """
    working = asyncio.current_task()
    assert working is not None
    watching: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        working.cancel()

    def start() -> None:
        nonlocal watching
        watching = asyncio.ensure_future(watch())

    timer = asyncio.get_running_loop().call_later(_SOON, start)
    try:
        with cut_short():
            return await work
    except Problem:
        if not gone:
            raise
        working.uncancel()
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        if watching:
            watching.cancel()


@contextmanager
def cut_short() -> Iterator[None]:
    """The HTTP server cancels a request only when it shuts down: then that is the answer."""
    try:
        yield
    except asyncio.CancelledError:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the exporter is shutting down") from None
