"""Divides long loops into time slices, between which other tasks run."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

_SLICE_S = 0.005
"""Seconds of work between two returns to the event loop."""


async def timeslices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yields the items, and yields to the event loop when a time slice is used up."""
    until = monotonic() + _SLICE_S
    for item in items:
        yield item
        if monotonic() > until:
            await asyncio.sleep(0)
            until = monotonic() + _SLICE_S


def batches(items: Sequence[T], size: int = 64) -> Iterator[Sequence[T]]:
    """Yields the items in batches of `size`: reading the clock for each item costs more than most work on it."""
    return (items[start : start + size] for start in range(0, len(items), size))
