"""Long work in an event loop, in turns with everybody else's."""

import asyncio
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 0.005
"""Seconds of work before others have their turn."""


class Turn:
    """Begins when it is made. Long work asks now and then whether it is over, and then lets others have theirs."""

    def __init__(self) -> None:
        self._until = monotonic() + _PATIENCE

    @property
    def over(self) -> bool:
        return monotonic() > self._until

    async def others(self) -> None:
        """Let others have their turn; the next one begins behind them."""
        await asyncio.sleep(0)
        self._until = monotonic() + _PATIENCE


def parts(items: Sequence[T], size: int = 64) -> Iterator[Sequence[T]]:
    """The items in runs of `size`: to look at the clock for each would cost more than what is done with it."""
    return (items[start : start + size] for start in range(0, len(items), size))
