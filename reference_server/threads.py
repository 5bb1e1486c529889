"""Thread pools whose threads are started in advance."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

_START_S = 10
"""Seconds that the threads of a pool have to start; they need milliseconds."""


class TooFewThreads(Exception):
    """The system refuses to start another thread."""

    def __init__(self) -> None:
        super().__init__(
            "cannot start a thread: raise the limit of processes (ulimit -u), or lower --transform.slots"
        )


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool that has already started its threads.

    `ThreadPoolExecutor` starts them when work arrives. Where the system then refuses one (RLIMIT_NPROC, pids.max), the
    work stays queued although `submit` raised, and runs later without a caller. Raises
    `TooFewThreads`.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    # Each job keeps its thread busy until all are there, so that each gets a thread of its own.
    barrier = Barrier(threads + 1)
    try:
        for _ in range(threads):
            pool.submit(barrier.wait)
        barrier.wait(_START_S)
    except RuntimeError:
        barrier.abort()  # ends every job, also those that are queued
        pool.shutdown()
        raise TooFewThreads from None
    return pool
