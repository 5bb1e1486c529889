"""The `smtpstatus-traffic` command: mail that looks like a day's, for demonstrations and tests."""

import asyncio
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TypeVar

from protocol.address import HostPort
from reference_server.config import domain
from reference_server.letter import Conduct, Letter, pace, write
from smtpstatus.duration import parse_duration
from smtpstatus.errors import ConfigError
from smtpstatus.flags import Parser, at, positive
from smtpstatus.version import __version__

T = TypeVar("T")

_AT_ONCE = 50
"""Sessions open at the same time, at most."""

_PATIENCE = 30.0
"""Seconds for one session."""

_ASIDE = 1.0
"""Seconds between attempts while the server is away, and for the last sessions when this program ends."""


@dataclass(frozen=True, slots=True)
class Options:
    where: HostPort
    rate: float
    count: int | None
    duration: float | None
    size: int | None
    domain: str


@dataclass(slots=True)
class Tally:
    """What came of it: (status code, meaning) and how often."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    away: bool = False

    def add(self, code: str, meaning: str) -> None:
        self.outcomes[code, meaning] += 1

    def __str__(self) -> str:
        lines = [f"{n:>8}  {code:<3}  {what}" for (code, what), n in sorted(self.outcomes.items())]
        return "\n".join(lines) or "nothing was sent"


def main() -> None:
    tally = Tally()
    try:
        options = parse(sys.argv[1:])
    except ConfigError as error:
        print(f"smtpstatus-traffic: {error}", file=sys.stderr)
        sys.exit(2)
    asyncio.run(_run(options, tally))
    print(tally, flush=True)


def parser() -> Parser:
    """The parser of the command's arguments, for its man page and shell completion too."""
    made = Parser(
        "smtpstatus-traffic",
        description="Sends realistic mail traffic, for demonstrations and tests.",
        allow_abbrev=False,
    )
    made.add_argument("where", metavar="HOST:PORT")
    made.add_argument("--rate", default="2", help="letters per second, on average (default: 2)")
    made.add_argument("--count", help="letters, then it ends (default: no limit)")
    made.add_argument("--duration", help="such as 30s or 5m (default: no limit)")
    made.add_argument("--size", help="of every letter's text in octets (default: lifelike)")
    made.add_argument(
        "--domain", default="localhost", help="of the recipients (default: localhost)"
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return made


def parse(argv: Sequence[str]) -> Options:
    """Raises `ConfigError`; --help and --version end the process as argparse does."""
    given = parser().parse_args(argv)

    def read(name: str, how: Callable[[str], T]) -> T | None:
        text = getattr(given, name)
        return None if text is None else at(f"--{name}", how, text)

    return Options(
        where=at("HOST:PORT", HostPort.parse, given.where),
        rate=at("--rate", _rate, given.rate),
        count=read("count", positive),
        duration=read("duration", parse_duration),
        size=read("size", positive),
        domain=at("--domain", domain, given.domain),
    )


def _rate(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not float(text):
        raise ValueError(f"{text!r} is no rate: write letters per second, like 0.5 or 20")
    return float(text)


async def _run(options: Options, tally: Tally) -> None:
    """Send letters until the count, the time or a signal says enough; those under way get a moment to end."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    progress = loop.create_task(_show(tally)) if sys.stderr.isatty() else None
    try:
        async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as sessions:

            def stop() -> None:
                stopped.set()
                patience.reschedule(loop.time() + _ASIDE)

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            if options.duration:
                loop.call_later(options.duration, stop)
            await _start_sessions(options, tally, stopped, sessions)
    except TimeoutError:
        tally.add("---", "cut off at the end")
    finally:
        if progress:
            progress.cancel()


async def _start_sessions(
    options: Options, tally: Tally, stopped: asyncio.Event, sessions: asyncio.TaskGroup
) -> None:
    loop, random, slots = asyncio.get_running_loop(), Random(), asyncio.Semaphore(_AT_ONCE)
    started = due = loop.time()
    for number in count(1):
        await slots.acquire()
        if await _stopped_before(due, stopped):
            return
        letter = write(random, options.domain, number, time.time(), options.size)
        session = sessions.create_task(_send(options.where, letter, tally))
        session.add_done_callback(lambda _: slots.release())
        if number == options.count:
            return
        due += pace(options.rate, loop.time() - started, random)
        if tally.away:
            due = max(due, loop.time() + _ASIDE)


async def _stopped_before(due: float, stopped: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout_at(due):
            await stopped.wait()
    except TimeoutError:
        pass
    return stopped.is_set()


async def _send(where: HostPort, letter: Letter, tally: Tally) -> None:
    """One session. Whatever goes wrong is counted, and told once while it lasts."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            try:
                await _converse(reader, writer, letter, tally)
            finally:
                writer.transport.abort() if letter.conduct is Conduct.VANISHES else writer.close()
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        tally.add("---", "no answer")
        if not tally.away:
            problem = "it is silent" if isinstance(error, TimeoutError) else error
            _tell(f"{where} does not answer: {problem}; trying on")
        tally.away = True
        return
    if tally.away:
        _tell(f"{where} answers again")
    tally.away = False


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, letter: Letter, tally: Tally
) -> None:
    greeting = await _reply(reader)
    if greeting != "220":
        tally.add(greeting, "session refused")
        return
    if letter.conduct is Conduct.BABBLES:
        writer.write(b"HELO\r\nmail for you\r\n")
        tally.add(await _reply(reader), "babble refused")
        return
    writer.write(b"EHLO elsewhere.example\r\n")
    await _reply(reader)
    envelope = [f"MAIL FROM:<{letter.sender}> BODY=8BITMIME"]
    envelope += [f"RCPT TO:<{recipient}>" for recipient in letter.recipients]
    writer.write("\r\n".join((*envelope, "DATA", "")).encode())
    for reply in [await _reply(reader) for _ in envelope]:
        if reply != "250":
            tally.add(reply, "recipient refused")
    if (reply := await _reply(reader)) != "354":
        tally.add(reply, "message refused")
        return
    octets = letter.octets.replace(b"\r\n.", b"\r\n..")
    if letter.conduct is Conduct.VANISHES:
        writer.write(octets[: len(octets) // 2])
        await writer.drain()
        tally.add("---", "broken off on purpose")
        return
    writer.write(octets + b".\r\nQUIT\r\n")
    await writer.drain()
    reply = await _reply(reader)
    tally.add(reply, "accepted" if reply == "250" else "message refused")
    await _reply(reader)


async def _reply(reader: asyncio.StreamReader) -> str:
    """The code of a reply of any number of lines. Raises `EOFError` where the server closes instead."""
    while (line := await reader.readline())[3:4] == b"-":
        pass
    if not re.match(rb"[2-5][0-9]{2}[ \r]", line):
        raise EOFError("it broke off")
    return line[:3].decode()


async def _show(tally: Tally) -> None:
    """Keep one line of a terminal up to date."""
    started = time.monotonic()
    while True:
        accepted = tally.outcomes["250", "accepted"]
        elapsed = time.monotonic() - started
        rate = accepted / elapsed if elapsed else 0
        total = tally.outcomes.total()
        sys.stderr.write(f"\r{accepted} accepted, {total - accepted} other, {rate:.1f}/s \033[K")
        sys.stderr.flush()
        await asyncio.sleep(0.5)


def _tell(text: str) -> None:
    over_the_progress = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{over_the_progress}smtpstatus-traffic: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
