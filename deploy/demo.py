"""`make run`: the reference server, the exporter and lifelike mail on this machine, until Ctrl-C.

The three commands run as a user would start them, each in a process group of its own, so that Ctrl-C
reaches this program alone and they end in order: first the mail, then the exporter, then the server.
"""

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = Path(sys.executable).parent
SMTP = "127.0.0.1:2525"
STATUS = "127.0.0.1:7030"
EXPORTER = "127.0.0.1:17030"

WELCOME = """
  status page   http://{exporter}/
  metrics       http://{exporter}/metrics
  API           http://{exporter}/docs
  mail          {mail}  (a Maildir for each local user)

Try, in another terminal:

  curl http://{exporter}/metrics
  curl http://{exporter}/api/v1/targets
  curl -X PUT http://{exporter}/api/v1/targets/{status}/transforms \\
    -H 'Authorization: Bearer {api_token}' -H 'Content-Type: application/json' -d '{{"enabled": false}}'
  curl smtp://{smtp} --mail-from me@localhost --mail-rcpt you@localhost -T README.md
  SMTPSTATUS_TOKEN={token} {commands}/smtpstatus watch {status}

Ctrl-C ends it.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the commands: its arguments, and the word in its output that says it works."""

    name: str
    arguments: tuple[str, ...]
    ready: str | None = None


def parts(mail: str) -> tuple[Part, ...]:
    server = (
        *("--smtp.listen-address", SMTP, "--status.listen-address", STATUS),
        *("--maildir", mail, "--domain", "localhost"),
        *("--transform", str(ROOT / "examples/footer.sh"), "--log.level", "warn"),
    )
    return (
        Part("smtpstatus-server", server, ready="ready"),
        Part("smtpstatus-exporter", ("--web.listen-address", EXPORTER), ready="Listening"),
        Part("smtpstatus-traffic", ("--rate", "2", SMTP)),
    )


class Running:
    """A started command whose output is shown, a line at a time, under its name."""

    def __init__(self, part: Part, process: Process) -> None:
        self.works = asyncio.Event()
        self._part = part
        self._process = process
        self._shown = asyncio.create_task(self._show())
        if part.ready is None:
            self.works.set()

    async def ended(self) -> int:
        """Wait for its end; returns its exit status."""
        await self._shown
        return await self._process.wait()

    async def end(self) -> None:
        """Ask it to end, and make sure that it does."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(3):
                await self.ended()
        except TimeoutError:
            self._process.kill()
            await self.ended()

    async def _show(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            print(f"{self._part.name.removeprefix('smtpstatus-'):>8} | {text}", flush=True)
            if self._part.ready and self._part.ready in text:
                self.works.set()


async def start(part: Part, environment: Mapping[str, str]) -> Running:
    process = await asyncio.create_subprocess_exec(
        COMMANDS / part.name,
        *part.arguments,
        env=environment,
        start_new_session=True,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    return Running(part, process)


async def run(mail: str, environment: Mapping[str, str], stop: asyncio.Event) -> int:
    """Start everything, wait for Ctrl-C or the end of any part, end everything; returns the exit status."""
    running: list[Running] = []
    stopped = asyncio.create_task(stop.wait())
    ends: set[asyncio.Task[int]] = set()
    try:
        for part in parts(mail):
            running.append(await start(part, environment))
            ends.add(asyncio.create_task(running[-1].ended()))
            works = asyncio.create_task(running[-1].works.wait())
            await asyncio.wait({works, stopped, *ends}, return_when=asyncio.FIRST_COMPLETED)
            works.cancel()
            if not running[-1].works.is_set():
                break
        else:
            print(welcome(mail, environment), flush=True)
            await asyncio.wait({stopped, *ends}, return_when=asyncio.FIRST_COMPLETED)
        failed = [task.result() for task in ends if task.done()]
        return 0 if stop.is_set() else failed[0]
    finally:
        for one in reversed(running):
            await one.end()


def welcome(mail: str, environment: Mapping[str, str]) -> str:
    return WELCOME.format(
        exporter=EXPORTER,
        status=STATUS,
        smtp=SMTP,
        mail=mail,
        token=environment["SMTPSTATUS_TOKEN"],
        api_token=environment["SMTPSTATUS_API_TOKEN"],
        commands=os.path.relpath(COMMANDS),
    )


async def main() -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    environment = {
        "SMTPSTATUS_TOKEN": "secretpa",
        "SMTPSTATUS_API_TOKEN": "letmeswitch",
        **os.environ,
        "SMTPSTATUS_TARGET": STATUS,
        "PYTHONUNBUFFERED": "1",
    }
    with tempfile.TemporaryDirectory(prefix="smtpstatus-") as mail:
        return await run(mail, environment, stop)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
