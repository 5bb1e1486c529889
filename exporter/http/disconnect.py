"""Cancels the work for a request whose client disconnects, or whose server shuts down."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

from exporter.http.responses import Problem

_WATCHED_AFTER_S = 0.05
"""Most work is done by then, and watching the client would cost as much as a probe."""


def cancelled_on_disconnect(request: Request) -> AbstractContextManager[None]:
    """Cancels the block when the client disconnects, and raises `ClientDisconnect`.

    Raises `Problem` (503) when the server shuts down. The block must not read the request's body.
    """
    return _CancelledOnDisconnect(request)


@contextmanager
def shutdown_as_problem() -> Iterator[None]:
    """Raises `Problem` (503) for a cancellation: uvicorn cancels requests only when it shuts down."""
    try:
        yield
    except asyncio.CancelledError:
        raise _shutting_down() from None


class _CancelledOnDisconnect:
    def __init__(self, request: Request) -> None:
        self._request = request
        self._watcher: asyncio.Task[None] | None = None
        self._disconnected = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_WATCHED_AFTER_S, self._start_watching)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # its exception refers to this object: together they would be garbage in a cycle
        if kind is asyncio.CancelledError:
            if not self._disconnected:
                raise _shutting_down() from None
            self._task.uncancel()
            raise ClientDisconnect from None

    def _start_watching(self) -> None:
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._disconnected = True
        self._task.cancel()


def _shutting_down() -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the exporter is shutting down")
