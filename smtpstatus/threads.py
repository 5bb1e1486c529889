"""Daemon threads for calls that may block indefinitely, such as reading a file on an unavailable network mount.

An executor of the standard library is joined when the program ends, and would wait for such a call.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

_RETRY_S = 1.0
"""Seconds until the first thread is tried again. Its calls wait, as they do for a slow file system."""


class DaemonThreads:
    """Runs calls in at most `most` threads, which start when they are needed and end with the program."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._jobs: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    def run(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """The call's result or exception, in the running loop. Cancelling the future does not stop the call."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._unfinished += 1
        self._jobs.put((future, call))
        self._start_thread()
        return future

    def _start_thread(self) -> None:
        """Starts a thread if one is missing. Where the system allows no more, those that there are do the work."""
        if self._unfinished <= self._threads or self._threads == self._most:
            return
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:
            logger.warning("Cannot start a thread", extra={"pool": self._name, "err": error})
            if not self._threads:
                asyncio.get_running_loop().call_later(_RETRY_S, self._start_thread)
        else:
            self._threads += 1

    def _work(self) -> None:
        while True:
            future, call = self._jobs.get()
            result, error = None, None
            try:
                result = call()
            except Exception as caught:
                error = caught
            try:
                future.get_loop().call_soon_threadsafe(self._finish, future, result, error)
            except RuntimeError:  # the loop is closed, so there are no callers
                return

    def _finish(
        self, future: "asyncio.Future[Any]", result: object, error: Exception | None
    ) -> None:
        self._unfinished -= 1
        if future.done():  # cancelled
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
