"""Runs `smtpstatus-server` as a process, configured by flags."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocol.address import HostPort
from protocol.client import Peer, connect
from protocol.token import Token
from protocol.vocabulary import Command

TOKEN = "s3cretpa"
READY = re.compile(
    r"smtpstatus-server ready: smtp 127\.0\.0\.1:(\d+), status 127\.0\.0\.1:(\d+)\n"
)


@dataclass
class Server:
    process: "subprocess.Popen[str]"
    maildir: Path
    smtp: int
    status: int
    log: Path

    def stored(self, user: str = "*") -> list[bytes]:
        """Messages in a user's Maildir, oldest first."""
        files = sorted(self.maildir.glob(f"{user}/new/*"), key=lambda file: file.name)
        return [file.read_bytes() for file in files]

    def leftovers(self) -> list[Path]:
        """Files that are not delivered messages."""
        return [f for f in self.maildir.rglob("*") if f.is_file() and f.parent.name != "new"]

    async def ask(self, command: Command) -> int:
        peer = Peer(HostPort("127.0.0.1", self.status), Token.parse(TOKEN))
        async with connect(peer) as connection:
            value = (await connection.ask(command, timeout=5))[command]
        assert value is not None
        return value

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(5)


@contextmanager
def running(directory: Path, *flags: str, front: tuple[str, ...] = ()) -> Iterator[Server]:
    maildir = directory / "mail"
    log = directory / "server.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [
                *front, sys.executable, "-m", "reference_server",
                "--smtp.listen-address", "127.0.0.1:0",
                "--status.listen-address", "127.0.0.1:0",
                "--maildir", str(maildir), "--token", TOKEN, "--domain", "example.com", *flags,
            ],
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        assert process.stdout
        line = process.stdout.readline()
        ready = READY.fullmatch(line)
        assert ready, f"{line!r} {log.read_text()}"
        yield Server(process, maildir, int(ready[1]), int(ready[2]), log)
    finally:
        process.kill()
        process.communicate()
