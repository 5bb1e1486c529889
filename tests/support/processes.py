"""Runs the installed commands and a real Prometheus as processes."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from tests.support.real import require

COMMANDS = Path(sys.executable).parent
T = TypeVar("T")


def eventually(observe: Callable[[], T | None], seconds: float = 30) -> T:
    """Calls a function until its result is true and returns it; fails with the last result."""
    deadline = time.monotonic() + seconds
    while True:
        found = observe()
        if found:
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        time.sleep(0.05)


class Process:
    """Running command whose output is collected and can be waited for."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._popen = subprocess.Popen(
            arguments,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def says(self, pattern: str) -> re.Match[str]:
        """Waits for a matching line; fails with the output if the command ends first."""

        def look() -> re.Match[str] | None:
            ended = self.ended
            for line in tuple(self.lines):
                if found := re.search(pattern, line):
                    return found
            assert not ended, self.output
            return None

        return eventually(look)

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal, waits, and returns the exit status."""
        with suppress(ProcessLookupError):
            self.send(number)
        return self.wait()

    def wait(self, seconds: float = 10) -> int:
        status = self._popen.wait(timeout=seconds)
        self._reader.join(timeout=seconds)
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        return status


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[Process]:
    """Runs an installed command; it is killed when the context is left."""
    process = Process(str(COMMANDS / arguments[0]), *arguments[1:], environment=environment)
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


class MailServer:
    """Running `smtpstatus-server` with its SMTP port, status port and Maildirs."""

    def __init__(self, process: Process, maildir: Path) -> None:
        self.process = process
        self.maildir = maildir
        found = process.says(r"smtp 127\.0\.0\.1:(\d+), status 127\.0\.0\.1:(\d+)")
        self.smtp = int(found[1])
        self.status = int(found[2])

    def mails(self, user: str) -> list[bytes]:
        """Messages delivered to a local user, oldest first."""
        found = [path for path in self.maildir.glob(f"{user}/new/*") if path.is_file()]
        return [path.read_bytes() for path in sorted(found, key=lambda p: p.stat().st_mtime_ns)]


@contextmanager
def mail_server(
    maildir: Path,
    *arguments: str,
    smtp: int = 0,
    status: int = 0,
    token: str = "secretpa",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[MailServer]:
    with running(
        "smtpstatus-server",
        f"--smtp.listen-address=127.0.0.1:{smtp}",
        f"--status.listen-address=127.0.0.1:{status}",
        f"--maildir={maildir}",
        "--domain=example.org",
        *arguments,
        SMTPSTATUS_TOKEN=token,
        **environment,
    ) as process:
        yield MailServer(process, maildir)


@contextmanager
def exporter(*arguments: str, **environment: str) -> Iterator[str]:
    """Runs `smtpstatus-exporter` on a free port; yields its URL."""
    with running(
        "smtpstatus-exporter", "--web.listen-address=127.0.0.1:0", *arguments, **environment
    ) as process:
        address = process.says(r"Listening.*address=\"?(127\.0\.0\.1:\d+)")[1]
        yield f"http://{address}"


def free_port() -> int:
    """A port for a server that may be restarted: outside the range from which the kernel gives ports to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Prometheus:
    """Running Prometheus and its query API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=5) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float | None:
        """The value of an instant query with one result."""
        result = self.get("/api/v1/query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None


@contextmanager
def prometheus(
    folder: Path, configuration: str, *flags: str, program: str = "prometheus"
) -> Iterator[Prometheus]:
    """Runs a Prometheus with this configuration; `flags` may set a storage path other than `folder`."""
    folder.mkdir(exist_ok=True)
    file = folder / "prometheus.yml"
    file.write_text(configuration)
    port = free_port()
    process = Process(
        require(program),
        f"--config.file={file}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *(flags or (f"--storage.tsdb.path={folder / 'data'}",)),
    )
    served = Prometheus(f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        assert not process.ended, process.output
        try:
            with urllib.request.urlopen(f"{served.url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    try:
        eventually(is_ready)
        yield served
    finally:
        process.end(signal.SIGKILL)
