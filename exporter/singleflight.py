"""Deduplicates concurrent calls: callers with the same key share one execution (singleflight)."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: "asyncio.Future[T]"
    deadline: float
    waiting: int = 0


class SingleFlight(Generic[T]):
    """Calls under way, by key. Nothing is kept after they end: this is not a cache."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._flights

    async def join(self, key: Hashable, deadline: float, start: Callable[[], Awaitable[T]]) -> T:
        """Returns the result of the call with this key that ends by `deadline`, or of a new one.

        The call is cancelled when all its waiters are.
        """
        flight = self._flights.get(key)
        if flight is None or flight.task.done() or flight.deadline > deadline:
            flight = _Flight(asyncio.ensure_future(start()), deadline)
            self._flights[key] = flight
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()
            if self._flights.get(key) is flight and (flight.task.done() or not flight.waiting):
                del self._flights[key]
