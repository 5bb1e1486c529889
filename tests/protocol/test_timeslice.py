import asyncio
import time

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


async def test_slices_contain_all_items_in_order() -> None:
    assert [item async for item in timeslices(range(1000))] == list(range(1000))


def test_batches_contain_all_items_in_order() -> None:
    assert list(batches(range(7), 3)) == [range(3), range(3, 6), range(6, 7)]
    assert list(batches([], 3)) == []
