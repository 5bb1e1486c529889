import asyncio
from collections.abc import Awaitable, Callable

import pytest

from exporter.singleflight import SingleFlight


class Work:
    """Call that lasts until `end` is set; counts starts and cancellations."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.begun = 0
        self.cancelled = 0

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def joined(
    flights: SingleFlight[int], work: Callable[[], Awaitable[int]], deadline: float = 1
) -> "asyncio.Task[int]":
    return asyncio.create_task(flights.join("key", deadline, work))


async def test_concurrent_calls_with_the_same_key_share_one_result() -> None:
    flights, work = SingleFlight[int](), Work()
    waiters = [joined(flights, work) for _ in range(3)]
    await settled()
    work.end.set()

    assert await asyncio.gather(*waiters) == [1, 1, 1]


async def test_nothing_is_kept_after_a_call_ends() -> None:
    flights, work = SingleFlight[int](), Work()
    work.end.set()

    assert [await flights.join("key", 1, work) for _ in range(2)] == [1, 2]


async def test_cancelling_one_waiter_does_not_cancel_the_others() -> None:
    flights, work = SingleFlight[int](), Work()
    first, second = joined(flights, work), joined(flights, work)
    await settled()
    first.cancel()
    await settled()
    work.end.set()

    assert await second == 1
    assert first.cancelled()
    assert work.cancelled == 0


async def test_the_call_is_cancelled_with_its_last_waiter() -> None:
    flights, work = SingleFlight[int](), Work()
    waiters = [joined(flights, work) for _ in range(2)]
    await settled()
    for waiter in waiters:
        waiter.cancel()
    await settled()
    assert work.cancelled == 1

    work.end.set()
    assert await flights.join("key", 1, work) == 2


async def test_a_call_that_is_being_cancelled_is_not_joined() -> None:
    flights, work = SingleFlight[int](), Work()
    waiter = joined(flights, work)
    await settled()
    waiter.cancel()
    await asyncio.wait([waiter])

    assert len(flights) == 0
    work.end.set()
    assert await flights.join("key", 1, work) == 2


async def test_a_caller_with_an_earlier_deadline_starts_its_own_call() -> None:
    flights, work = SingleFlight[int](), Work()
    patient, hurried, joiner = (
        joined(flights, work, 2),
        joined(flights, work, 1),
        joined(flights, work, 2),
    )
    await settled()
    work.end.set()

    assert [await patient, await hurried, await joiner] == [1, 2, 2]


async def test_an_exception_reaches_every_waiter() -> None:
    flights = SingleFlight[int]()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("broken")

    waiters = [joined(flights, fail) for _ in range(2)]
    for waiter in waiters:
        with pytest.raises(ValueError, match="broken"):
            await waiter
