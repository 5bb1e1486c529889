"""Shares the event loop between sessions, so that no number of busy clients holds up the status port or the end.

Whatever a client pipelines is worked off in steps of a bounded size. All sessions together get `SLICE_S` seconds of an
iteration of the event loop; those that are not done by then take turns in the following iterations, between which
the loop serves everything else.
"""

import asyncio
from collections import deque
from collections.abc import Callable

SLICE_S = 0.002
"""Seconds of one iteration of the event loop that sessions may use."""

Step = Callable[[], bool]
"""Does a bounded amount of work; returns whether more can be done immediately."""


class Scheduler:
    """Runs steps round robin."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Step] = deque()
        self._until = 0.0
        self._active = False

    def run(self, step: Step) -> None:
        """Call `step` until it returns False: immediately while the slice lasts, then in turn with the others."""
        if not self._active:
            self._active = True
            self._until = self._loop.time() + SLICE_S
            self._loop.call_soon(self._next_slice)
        if self._waiting or self._loop.time() >= self._until or step():
            self._waiting.append(step)

    def _next_slice(self) -> None:
        self._until = self._loop.time() + SLICE_S
        while self._waiting and self._loop.time() < self._until:
            step = self._waiting.popleft()
            if step():
                self._waiting.append(step)
        self._active = bool(self._waiting)
        if self._active:
            self._loop.call_soon(self._next_slice)
