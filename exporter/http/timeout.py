"""A timeout that is moved far more often than it passes."""

import asyncio
from collections.abc import Callable

_LAST_LOOK_S = 0.01


class Timeout:
    """Calls `passed` when its time is over.

    Moving it to a later time leaves the loop's timer, which is set again when it fires. Most requests are complete
    when their first bytes are read: a timer for each, and for the idle time after it, would be set in vain.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop, self._passed = loop, passed
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float) -> None:
        """Moves the timeout to `seconds` from now; call `watch` next."""
        self._due = self._loop.time() + seconds

    def stop(self) -> None:
        self._due = None

    def watch(self) -> None:
        """Sets the loop's timer, unless it fires early enough."""
        if self._due is not None and (self._timer is None or self._timer.when() > self._due):
            self._cancel()
            self._timer = self._loop.call_at(self._due, self._check)

    def close(self) -> None:
        """Ends it, and releases `passed`, which would keep the owner in a cycle."""
        self._cancel()
        self._passed = _nothing

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _check(self, last: bool = False) -> None:
        """Calls `passed` after one more round of the loop, the `last`, whose input may move the timeout.

        When a process continues after it was stopped, its loop runs timers before it reads what has arrived meanwhile.
        """
        self._timer = None
        if self._due is None or self._due > self._loop.time():
            self.watch()
        elif last:
            self._passed()
        else:
            self._timer = self._loop.call_later(_LAST_LOOK_S, self._check, True)


def _nothing() -> None:
    pass
