"""Busy clients do not block the event loop."""

import asyncio
import itertools
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from reference_server.scheduler import SLICE_S, Scheduler
from tests.reference_server.inside import Client, client, mail_server
from tests.reference_server.server import running


async def test_a_step_is_called_immediately_and_repeated_until_done() -> None:
    left = 3

    def step() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    Scheduler().run(step)
    assert left == 2  # the first call

    await asyncio.sleep(0)
    assert left == 0


async def test_steps_take_turns() -> None:
    order: list[str] = []
    scheduler = Scheduler()
    for name in "ab":

        def step(name: str = name) -> bool:
            order.append(name)
            return order.count(name) < 3

        scheduler.run(step)
    await asyncio.sleep(0)

    assert order == ["a", "a", "b", "a", "b", "b"] or order == ["a", "b", "a", "b", "a", "b"]


async def test_the_event_loop_runs_after_each_time_slice() -> None:
    scheduler = Scheduler()
    done = 0

    def slow() -> bool:
        nonlocal done
        time.sleep(SLICE_S)
        done += 1
        return done < 20

    for _ in range(5):
        scheduler.run(slow)
    seen = [done]
    while done < 20:
        await asyncio.sleep(0)
        seen.append(done)

    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2


PIPELINED = {
    "EHLO": b"EHLO x\r\n" * 10_000,
    "RCPT": b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<bob@example.com>\r\n" * 3_000,
    "refused RCPT": b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<bob@x.example>\r\n" * 3_000,
    "NOOP": b"NOOP\r\n" * 13_000,
    "HELP": b"HELP\r\n" * 13_000,
    "content": b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"
    + b"..\r\n" * 20_000,
}


@pytest.mark.parametrize("name", PIPELINED)
async def test_an_iteration_of_the_loop_is_short_with_pipelining_clients(
    name: str, tmp_path: Path
) -> None:
    async def pipeline(c: Client) -> None:
        await c.send(PIPELINED[name])
        while await c.reader.read(1 << 16):
            pass

    async with mail_server(tmp_path) as inside:
        async with (
            client(inside.port) as one,
            client(inside.port) as two,
            client(inside.port) as three,
        ):
            tasks = [asyncio.create_task(pipeline(c)) for c in (one, two, three)]
            longest = 0.0
            until = time.monotonic() + 0.4
            while time.monotonic() < until and not all(task.done() for task in tasks):
                began = time.thread_time()  # CPU time of this thread, independent of other load
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - began)
            for task in tasks:
                task.cancel()

    # A time slice, one more step, and the test's clients in the same loop.
    assert longest < 0.1


def test_sigterm_ends_the_server_in_two_seconds_while_clients_pipeline(tmp_path: Path) -> None:
    with running(tmp_path) as server, ExitStack() as stack:
        for _ in range(50):
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", server.smtp)))
            opened.setblocking(False)
            opened.send(PIPELINED["EHLO"])
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 2
