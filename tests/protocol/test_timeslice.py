import asyncio
import time

import pytest

from protocol import timeslice
from protocol.timeslice import batches, timeslices


async def test_long_work_yields_to_the_event_loop_after_each_slice() -> None:
    called: list[str] = []
    asyncio.get_running_loop().call_soon(called.append, "others")
    until = time.monotonic() + 5
    done = 0
    async for _ in timeslices(iter(int, 1)):
        done += 1
        if called or time.monotonic() > until:
            break

    assert called == ["others"]
    assert done > 1


async def test_a_slice_lasts_five_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    slept = []

    async def sleep(_: float) -> None:
        slept.append(now)

    monkeypatch.setattr(timeslice, "monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    async for at in timeslices([100.0, 100.0049, 100.0051, 100.01, 100.0102, 100.0103]):
        now = at

    assert slept == [100.0051, 100.0102]


async def test_slices_contain_all_items_in_order() -> None:
    assert [item async for item in timeslices(range(1000))] == list(range(1000))


def test_batches_contain_all_items_in_order() -> None:
    assert list(batches(range(7), 3)) == [range(3), range(3, 6), range(6, 7)]
    assert list(batches([], 3)) == []
