import asyncio
import subprocess
import sys
import threading

import pytest

from smtpstatus.threads import DaemonThreads


async def test_calls_return_or_raise_in_the_event_loop() -> None:
    threads = DaemonThreads("test", 2)

    assert await asyncio.gather(*(threads.run(lambda n=n: n * n) for n in range(20))) == [  # type: ignore[misc]
        n * n for n in range(20)
    ]
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)


async def test_a_call_that_hangs_can_be_cancelled_and_blocks_no_other() -> None:
    threads = DaemonThreads("test", 2)
    release = threading.Event()
    hanging = threads.run(release.wait)

    assert await threads.run(lambda: 1) == 1
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await hanging
    release.set()
    assert await threads.run(lambda: 2) == 2


def _fail(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_calls_wait_until_a_first_thread_can_be_started() -> None:
    threads = DaemonThreads("late", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smtpstatus.threads._RETRY_S", 0.01)
        patch.setattr(threading.Thread, "start", _fail)
        waiting = [threads.run(lambda: 1), threads.run(lambda: 2)]
        await asyncio.sleep(0.05)
        assert not any(call.done() for call in waiting)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*waiting) == [1, 2]


async def test_the_threads_there_are_run_the_calls_where_no_more_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = DaemonThreads("few", 4)
    await threads.run(int)
    monkeypatch.setattr(threading.Thread, "start", _fail)

    async with asyncio.timeout(10):
        assert await asyncio.gather(*(threads.run(int) for _ in range(4))) == [0] * 4


async def test_no_more_threads_start_than_are_allowed_or_needed() -> None:
    threads = DaemonThreads("counted", 3)
    await threads.run(int)
    await threads.run(int)
    assert _count("counted") == 1

    release = threading.Event()
    calls = [threads.run(release.wait) for _ in range(9)]
    assert _count("counted") == 3
    release.set()
    assert all(await asyncio.gather(*calls))


def _count(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_a_call_that_hangs_does_not_delay_the_end_of_the_program() -> None:
    program = """
import asyncio, threading
from smtpstatus.threads import DaemonThreads

async def main():
    DaemonThreads("test", 1).run(threading.Event().wait)

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=10)
