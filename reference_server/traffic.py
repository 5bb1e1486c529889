"""The `smtpstatus-traffic` command: realistic mail traffic for demonstrations and tests."""

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
from reference_server.sample_mail import ClientBehaviour, SampleMessage, generate, pace
from smtpstatus.duration import parse_duration
from smtpstatus.errors import ConfigError
from smtpstatus.flags import Parser, at, positive
from smtpstatus.version import __version__

T = TypeVar("T")

_MAX_SESSIONS = 50
"""Simultaneous sessions."""

_SESSION_TIMEOUT_S = 30.0

_RETRY_S = 1.0
"""Between attempts while the server is unavailable, and for the last sessions when this program ends."""

_LATE_S = 5.0
"""What is later than this, because the program was stopped or the server slow, is not caught up on."""


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
    """Outcomes: how often each (reply code, meaning) occurred."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unavailable: bool = False

    def add(self, code: str, meaning: str) -> None:
        self.outcomes[code, meaning] += 1

    def __str__(self) -> str:
        lines = [f"{n:>8}  {code:<3}  {what}" for (code, what), n in sorted(self.outcomes.items())]
        return "\n".join(lines) or "no message was sent"


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
    made.add_argument("--rate", default="2", help="messages per second, on average (default: 2)")
    made.add_argument("--count", help="number of messages to send (default: no limit)")
    made.add_argument("--duration", help="how long to send, such as 30s or 5m (default: no limit)")
    made.add_argument("--size", help="size of every message body in octets (default: realistic)")
    made.add_argument(
        "--domain", default="localhost", help="domain of the recipients (default: localhost)"
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
        raise ValueError(f"invalid rate {text!r}: write messages per second, such as 0.5 or 20")
    return float(text)


async def _run(options: Options, tally: Tally) -> None:
    """Sends messages until the count, the duration or a signal ends it; then waits a moment for open sessions."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    progress = loop.create_task(_show(tally)) if sys.stderr.isatty() else None
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as sessions:

            def stop() -> None:
                stopped.set()
                limit.reschedule(loop.time() + _RETRY_S)

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            if options.duration:
                loop.call_later(options.duration, stop)
            await _start_sessions(options, tally, stopped, sessions)
    except TimeoutError:
        tally.add("---", "aborted at the end")
    finally:
        if progress:
            progress.cancel()


async def _start_sessions(
    options: Options, tally: Tally, stopped: asyncio.Event, sessions: asyncio.TaskGroup
) -> None:
    loop, random, slots = asyncio.get_running_loop(), Random(), asyncio.Semaphore(_MAX_SESSIONS)
    started = due = loop.time()
    for number in count(1):
        await slots.acquire()
        if await _stopped_before(due, stopped):
            return
        message = generate(random, options.domain, number, time.time(), options.size)
        session = sessions.create_task(_send(options.where, message, tally))
        session.add_done_callback(lambda _: slots.release())
        if number == options.count:
            return
        due = max(due + pace(options.rate, loop.time() - started, random), loop.time() - _LATE_S)
        if tally.unavailable:
            due = max(due, loop.time() + _RETRY_S)


async def _stopped_before(due: float, stopped: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout_at(due):
            await stopped.wait()
    except TimeoutError:
        pass
    return stopped.is_set()


async def _send(where: HostPort, message: SampleMessage, tally: Tally) -> None:
    """Runs one session. Failures are counted, and reported once while the server is unavailable."""
    try:
        async with asyncio.timeout(_SESSION_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            try:
                await _converse(reader, writer, message, tally)
            finally:
                if message.behaviour is ClientBehaviour.DISCONNECTING:
                    writer.transport.abort()
                else:
                    writer.close()
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        tally.add("---", "no reply")
        if not tally.unavailable:
            problem = "timeout" if isinstance(error, TimeoutError) else error
            _report(f"{where} does not answer: {problem}; retrying")
        tally.unavailable = True
        return
    if tally.unavailable:
        _report(f"{where} answers again")
    tally.unavailable = False


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    message: SampleMessage,
    tally: Tally,
) -> None:
    greeting = await _reply(reader)
    if greeting != "220":
        tally.add(greeting, "session refused")
        return
    if message.behaviour is ClientBehaviour.MALFORMED:
        writer.write(b"HELO\r\nmail for you\r\n")
        tally.add(await _reply(reader), "malformed client refused")
        return
    writer.write(b"EHLO elsewhere.example\r\n")
    await _reply(reader)
    envelope = [f"MAIL FROM:<{message.sender}> BODY=8BITMIME"]
    envelope += [f"RCPT TO:<{recipient}>" for recipient in message.recipients]
    writer.write("\r\n".join((*envelope, "DATA", "")).encode())
    for reply in [await _reply(reader) for _ in envelope]:
        if reply != "250":
            tally.add(reply, "recipient refused")
    if (reply := await _reply(reader)) != "354":
        tally.add(reply, "message refused")
        return
    octets = message.octets.replace(b"\r\n.", b"\r\n..")
    if message.behaviour is ClientBehaviour.DISCONNECTING:
        writer.write(octets[: len(octets) // 2])
        await writer.drain()
        tally.add("---", "disconnected on purpose")
        return
    writer.write(octets + b".\r\nQUIT\r\n")
    await writer.drain()
    reply = await _reply(reader)
    tally.add(reply, "accepted" if reply == "250" else "message refused")
    await _reply(reader)


async def _reply(reader: asyncio.StreamReader) -> str:
    """Returns the code of a reply of any number of lines. Raises `EOFError` if the server closes instead."""
    while (line := await reader.readline())[3:4] == b"-":
        pass
    if not re.match(rb"[2-5][0-9]{2}[ \r]", line):
        raise EOFError("connection closed")
    return line[:3].decode()


async def _show(tally: Tally) -> None:
    """Updates the progress line on a terminal."""
    started = time.monotonic()
    while True:
        accepted = tally.outcomes["250", "accepted"]
        elapsed = time.monotonic() - started
        rate = accepted / elapsed if elapsed else 0
        total = tally.outcomes.total()
        sys.stderr.write(f"\r{accepted} accepted, {total - accepted} other, {rate:.1f}/s \033[K")
        sys.stderr.flush()
        await asyncio.sleep(0.5)


def _report(text: str) -> None:
    over_the_progress = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{over_the_progress}smtpstatus-traffic: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
