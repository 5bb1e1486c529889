"""`make run`: the reference server, the exporter and mail traffic on this machine, until Ctrl-C.

Each command runs in a process group of its own, so that Ctrl-C reaches only this program, which stops
them in reverse order. Mail is stored in a temporary directory, deleted after 30 minutes and at the end.
"""

import asyncio
import ctypes
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = Path(sys.executable).parent
SMTP = "127.0.0.1:2525"
STATUS = "127.0.0.1:7030"
EXPORTER = "127.0.0.1:17030"
KEPT_MIN = 30
"""Minutes for which mail is kept: some 50 MB at two messages a second."""

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

Ctrl-C stops everything.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A command with its arguments; `ready` is the word in its output that shows that it works."""

    name: str
    command: Path
    arguments: tuple[str, ...]
    ready: str | None = None


def parts(mail: str) -> tuple[Part, ...]:
    server = (
        *("--smtp.listen-address", SMTP, "--status.listen-address", STATUS),
        *("--maildir", mail, "--domain", "localhost"),
        *("--transform", str(ROOT / "examples/footer.sh"), "--log.level", "warn"),
    )
    exporter = ("--web.listen-address", EXPORTER)
    return (
        Part("server", COMMANDS / "smtpstatus-server", server, ready="ready"),
        Part("exporter", COMMANDS / "smtpstatus-exporter", exporter, ready="Listening"),
        Part("traffic", COMMANDS / "smtpstatus-traffic", ("--rate", "2", SMTP)),
        Part("expire", ROOT / "examples/expire.sh", (mail, str(KEPT_MIN))),
    )


class Running:
    """Running command; shows its output line by line, prefixed with its name."""

    def __init__(self, part: Part, process: Process) -> None:
        self.works = asyncio.Event()
        self._part = part
        self._process = process
        self.ended = asyncio.create_task(self._show())
        """The exit status, once nothing holds the command's output open."""
        if part.ready is None:
            self.works.set()

    async def end(self) -> None:
        """Terminate the command; kill it and its children after 3 seconds."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        await asyncio.wait({self.ended}, timeout=3)
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self.ended

    async def _show(self) -> int:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            print(f"{self._part.name:>8} | {text}", flush=True)
            if self._part.ready and self._part.ready in text:
                self.works.set()
        return await self._process.wait()


async def start(part: Part, environment: Mapping[str, str]) -> Running:
    process = await asyncio.create_subprocess_exec(
        part.command,
        *part.arguments,
        env=environment,
        start_new_session=True,
        preexec_fn=_end_with_parent,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    return Running(part, process)


def _end_with_parent() -> None:
    """Have the kernel end this process when the demonstration itself is killed: prctl(PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


async def run(mail: str, environment: Mapping[str, str], stop: asyncio.Event) -> int:
    """Run all parts until Ctrl-C or until one exits; returns the exit status."""
    running: list[Running] = []
    stopped = asyncio.create_task(stop.wait())
    ends: set[asyncio.Task[int]] = set()
    try:
        for part in parts(mail):
            running.append(await start(part, environment))
            ends.add(running[-1].ended)
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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    environment = {
        "SMTPSTATUS_TOKEN": "secretpa",
        "SMTPSTATUS_API_TOKEN": "letmeswitch",
        **os.environ,
        "SMTPSTATUS_TARGET": STATUS,
        "PYTHONUNBUFFERED": "1",
    }
    with tempfile.TemporaryDirectory(prefix="smtpstatus-demo-") as mail:
        return await run(mail, environment, stop)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
