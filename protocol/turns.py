"""Long work in an event loop, in turns with everybody else's."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 0.005
"""Seconds of work before others have their turn."""


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The same items; between two of them others may have their turn."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    for item in items:
        yield item
        if loop.time() - since > _PATIENCE:
            await asyncio.sleep(0)
            since = loop.time()


def parts(items: Sequence[T], size: int = 64) -> Iterator[Sequence[T]]:
    """The items in runs of `size`: a turn of one small item would cost more than what is done with it."""
    return (items[start : start + size] for start in range(0, len(items), size))
