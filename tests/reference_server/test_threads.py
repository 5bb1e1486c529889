"""Thread pools that are complete before they are used."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from reference_server.threads import TooFewThreads, started_pool


def named(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pool_has_started_all_its_threads(threads: int) -> None:
    with started_pool(threads, "started") as pool:
        assert len(named("started")) == threads
        assert pool.submit(lambda: 1).result(5) == 1

    assert named("started") == []


@pytest.mark.parametrize("possible", [0, 1, 2])
def test_a_pool_that_the_system_refuses_a_thread_leaves_none_and_no_work(
    possible: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[Future[int]] = []
    submit = ThreadPoolExecutor.submit

    def refuse(pool: ThreadPoolExecutor, work: Callable[[], int]) -> Future[int]:
        if len(queued) == possible:
            raise RuntimeError("can't start new thread")
        queued.append(submit(pool, work))
        return queued[-1]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    with pytest.raises(TooFewThreads, match="ulimit -u"):
        started_pool(3, "refused")

    assert named("refused") == []
    assert all(future.done() for future in queued)
