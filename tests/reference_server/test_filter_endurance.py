"""Postfix → filter → Postfix, while the filter and the second Postfix are killed and transforms are switched.

No message is lost, none is partially transformed, and one is delivered twice only if the first Postfix received no
reply after the final dot (RFC 1047).
"""

import os
import random
import re
import signal
import smtplib
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.postfix import command
from tests.support import mta
from tests.support.filter import ROOT, TOKEN
from tests.support.processes import COMMANDS, Process, eventually, free_port

_LINES = 40
_UNREPLIED = re.compile(r"end of data|451 4\.[34]\.[012]|timed out while sending message body")
"""Reasons of a deferral after which the message may have been accepted all the same."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of messages, of kills of each server, and of switches of the transforms."""

    messages: int
    kills: int
    switches: int


SCALES = (
    pytest.param(Scale(150, 2, 6), id="short"),
    pytest.param(Scale(10_000, 20, 100), id="long", marks=[pytest.mark.soak, pytest.mark.long]),
)


@dataclass
class Part:
    """Filter or second Postfix: a process that is killed and restarted."""

    command: tuple[str, ...]
    port: int
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.process = Process(*self.command, environment={"SMTPSTATUS_TOKEN": TOKEN})
        mta.wait_for_port(self.port, self.process)

    def kill(self, number: signal.Signals, pause_s: float) -> None:
        """Kills the process and all of its group, and starts it again after a pause."""
        os.killpg(self.process.pid, number)
        self.process.wait()
        time.sleep(pause_s)  # seconds of downtime
        self.start()

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Copy:
    """A message as it was delivered: its number, the filter's and the second Postfix' identifiers for it."""

    number: int
    filtered_as: str
    queued_as: str
    transformed: bool

    @classmethod
    def parse(cls, mail: bytes) -> "Copy":
        header, _, body = mail.partition(b"\n\n")
        found = re.search(rb"^Message-ID: <(\d+)@", header, re.M | re.I)
        filtered = re.search(rb"\(smtpstatus\) with \S+ id (\w+)", header)
        queued = re.search(rb"^Received:.*?\(Postfix\) with \S+ id (\w+)", header, re.M | re.S)
        assert found, mail
        assert filtered, mail
        assert queued, mail
        number = int(found[1])
        plain = b"".join(b"line %d of %d\n" % (line, number) for line in range(_LINES))
        changed = plain.replace(b"line", b"LINE") + b"-- \nfiltered\n"
        assert body in (plain, changed), mail
        return cls(number, filtered[1].decode(), queued[1].decode(), body == changed)


class Setup:
    """The three servers, with everything in `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        hop, lmtp, self._status, self.port = free_port(), free_port(), free_port(), free_port()
        mta.configure_postfix(home / "hop", hop, "smtpd_authorized_xforward_hosts = 127.0.0.1\n")
        mta.configure_postfix(
            home / "front",
            self.port,
            f"content_filter = lmtp:[127.0.0.1]:{lmtp}\nlmtp_send_xforward_command = yes\n",
        )
        self.hop = Part(command(home / "hop"), hop)
        self.filter = Part(
            (
                str(COMMANDS / "smtpstatus-server"),
                f"--lmtp.listen-address=127.0.0.1:{lmtp}",
                f"--next-hop=smtp://127.0.0.1:{hop}",
                f"--status.listen-address=127.0.0.1:{self._status}",
                "--transform=sed s/^line/LINE/",
                f"--transform={ROOT / 'examples/footer.sh'} filtered",
            ),
            lmtp,
        )
        self.front = Part(command(home / "front"), self.port)

    def end(self) -> None:
        for part in (self.front, self.filter, self.hop):
            part.end()

    def wait_for_arrivals(self, count: int) -> None:
        eventually(lambda: sum(1 for _ in self._arrived()) >= count, 300)

    def copies(self) -> list[Copy]:
        return [Copy.parse(path.read_bytes()) for path in self._arrived()]

    def _arrived(self) -> Iterator[Path]:
        return (self._home / "hop/mail/bob/new").glob("*")

    def switch(self, state: str) -> bool:
        command = (COMMANDS / "smtpstatus", "transforms", f"127.0.0.1:{self._status}", state)
        options = ("--token", TOKEN, "--timeout", "1s")
        return subprocess.run((*command, *options), capture_output=True).returncode == 0

    def is_idle(self) -> bool:
        return all(
            "Mail queue is empty" in mta.postfix_queue(self._home / name)
            for name in ("front", "hop")
        )

    def unreplied(self) -> Counter[int]:
        """How often the first Postfix received no reply to a message, by message number."""
        names: dict[str, int] = {}
        found: Counter[int] = Counter()
        for line in (self._home / "front/log/mail.log").read_text().splitlines():
            if match := re.search(r": (\w+): message-id=<(\d+)@", line):
                names[match[1]] = int(match[2])
            elif (match := re.search(r": (\w+): to=.* status=deferred \((.*)", line)) and (
                _UNREPLIED.search(match[2])
            ):
                found[names[match[1]]] += 1
        return found


@pytest.fixture
def setup() -> Iterator[Setup]:
    with mta.directory() as home:
        setup = Setup(home)
        try:
            yield setup
        finally:
            setup.end()


def send(port: int, numbers: range) -> None:
    """Sends messages over connections of some ten each."""
    for start in range(0, len(numbers), 10):
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            for number in numbers[start : start + 10]:
                body = "".join(f"line {line} of {number}\r\n" for line in range(_LINES))
                header = f"Message-ID: <{number}@soak.example>\r\nSubject: {number}\r\n\r\n"
                client.sendmail("a@example.net", ["bob@example.org"], header + body)


def switch_repeatedly(setup: Setup, times: int, done: threading.Event) -> int:
    """Switches transforms so many times, and on until `done`; returns how many switches were acknowledged."""
    acknowledged = 0
    while acknowledged < times or not done.is_set():
        acknowledged += setup.switch("off" if acknowledged % 2 == 0 else "on")
        done.wait(0.05)
    return acknowledged


@pytest.mark.parametrize("scale", SCALES)
def test_kills_and_switches_lose_no_message_and_every_duplicate_is_explained(
    scale: Scale, setup: Setup
) -> None:
    chance, done = random.Random(), threading.Event()
    share = scale.messages // 4
    with ThreadPoolExecutor(5) as pool:
        switches = pool.submit(switch_repeatedly, setup, scale.switches, done)
        try:
            senders = [
                pool.submit(send, setup.port, range(n * share, (n + 1) * share)) for n in range(4)
            ]
            for kill in range(scale.kills):
                setup.wait_for_arrivals(4 * share * (kill + 1) // (scale.kills + 2))
                number = signal.SIGKILL if kill % 2 == 0 else signal.SIGTERM
                setup.filter.kill(number, chance.uniform(0, 0.2))
                time.sleep(chance.uniform(0, 0.3))  # the kill comes at any moment of a message
                setup.hop.kill(signal.SIGKILL, chance.uniform(0, 0.2))
            for sender in senders:
                sender.result()
            eventually(setup.is_idle, 300)
        finally:
            done.set()
        assert switches.result() >= scale.switches

    copies = setup.copies()
    assert {copy.number for copy in copies} == set(range(4 * share))
    attempts = {(copy.number, copy.filtered_as): copy.queued_as for copy in copies}
    # The same attempt twice would be a message that the filter sent twice; the second Postfix, when it is killed,
    # delivers again what it has in its queue, under the same identifier.
    assert all(attempts[copy.number, copy.filtered_as] == copy.queued_as for copy in copies)
    unreplied = setup.unreplied()
    repeated = Counter(number for number, _ in attempts)
    unexplained = {n: k for n, k in repeated.items() if k - 1 > unreplied[n]}
    assert unexplained == {}
    print(
        f"{4 * share} messages, {2 * scale.kills} kills, {switches.result()} switches: 0 lost,"
        f" {sum(repeated.values()) - len(repeated)} accepted twice,"
        f" {len(copies) - len(attempts)} delivered again by the killed Postfix,"
        f" {sum(copy.transformed for copy in copies)} of {len(copies)} transformed"
    )
