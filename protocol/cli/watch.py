"""`smtpstatus watch`: reads a server's counters repeatedly, with rates and charts."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from shutil import get_terminal_size

from protocol.cli.client import peer_of, status_of
from protocol.cli.options import dialect_of, print_json
from protocol.cli.sample import Sample, compare, sample_as_json, sample_as_line
from protocol.cli.screen import Screen
from protocol.cli.status import DONE
from protocol.client import Peer, Reading, connect


def run(options: Namespace) -> int:
    """Returns the exit status of the last reading. Ctrl-C is the usual end, with status 0."""
    peer = peer_of(options, options.target, dialect_of(options))
    try:
        last = asyncio.run(_follow(options, peer, _output(options, peer)))
    except KeyboardInterrupt:
        return DONE
    return status_of(last.error)


def _output(options: Namespace, peer: Peer) -> Callable[[Sample], None]:
    """Where samples go: JSON lines, charts on a terminal that can draw them, or plain lines."""
    target, dialect = options.target, peer.dialect
    if options.json:
        return lambda sample: print_json(sample_as_json(target, dialect, sample))
    if sys.stdout.isatty() and options.terminal not in ("", "dumb"):
        screen = Screen(target, dialect, sys.stdout)
        return lambda sample: screen.draw(sample, get_terminal_size())
    return lambda sample: print(sample_as_line(sample), flush=True)


async def _follow(options: Namespace, peer: Peer, show: Callable[[Sample], None]) -> Reading:
    reading = Reading()
    timeout = min(options.timeout, options.interval)
    async for sample in samples(
        peer, interval=options.interval, timeout=timeout, count=options.count
    ):
        reading = sample.reading
        show(sample)
    return reading


async def samples(
    peer: Peer, *, interval: float, timeout: float, count: int | None = None
) -> AsyncIterator[Sample]:
    """Read `peer` every `interval` seconds, `count` times or without end. A late reading delays no other.

    Readings that were due while this program was stopped are left out.
    Each reading is compared with the last good one, so that a restart is seen also if readings failed meanwhile.
    """
    loop = asyncio.get_running_loop()
    due = good_at = loop.time()
    good: Reading | None = None
    number = 0
    async with connect(peer) as connection:
        while count is None or number < count:
            await asyncio.sleep(due - loop.time())
            reading = await connection.read(timeout=timeout)
            now = loop.time()
            yield compare(good, reading, now - good_at, datetime.now(), peer.dialect)
            if not reading.error:
                good, good_at = reading, now
            number += 1
            due += interval * max(1, (loop.time() - due) // interval)
