"""Each process killed at random moments under traffic: no accepted mail is lost, no counter is false, all recover."""

import json
import signal
import smtplib
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.soak.conftest import Scale
from tests.support.processes import COMMANDS, Process, eventually, free_port
from tests.support.real import require

pytestmark = pytest.mark.soak

TOKEN = "secretpa"


class Part:
    """Command that is restarted after each end, with the same arguments."""

    def __init__(
        self, name: str, ready: str, arguments: Sequence[str], **environment: str
    ) -> None:
        self.name = name
        self._ready = ready
        self._arguments = arguments
        self._environment = environment
        self.output = ""
        self.process = self._start()

    def _start(self) -> Process:
        process = Process(*self._arguments, environment=self._environment)
        if self._ready:
            process.says(self._ready)
        return process

    def end(self, number: signal.Signals) -> None:
        self.process.end(number)
        self.output += self.process.output

    def restart(self, number: signal.Signals) -> None:
        self.end(number)
        self.process = self._start()


class Sender(threading.Thread):
    """Sends numbered messages one after the other, and keeps the numbers of the accepted ones."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.accepted: list[str] = []
        self.connections = 0
        self._port = port
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            with suppress(OSError, smtplib.SMTPException):
                with smtplib.SMTP("127.0.0.1", self._port, timeout=10) as client:
                    self.connections += 1
                    while not self.stopping.is_set():
                        number += 1
                        mark = f"{self.name}-{number}"
                        text = f"Subject: {mark}\r\n\r\nbody of {mark}\r\n"
                        client.sendmail("me@example.org", ["you@example.org"], text)
                        self.accepted.append(mark)
            self.stopping.wait(0.05)


def stored(maildir: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in maildir.glob("*/new/*"):
        text = path.read_text()
        marks = [line.split(": ")[1] for line in text.splitlines() if line.startswith("Subject:")]
        assert f"body of {marks[0]}" in text
        found[marks[0]] += 1
    return found


def query(port: int, expression: str) -> list[float]:
    words = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{words}") as answer:
        results = json.load(answer)["data"]["result"]
    return [float(result["value"][1]) for result in results]


def server(name: str, *flags: str) -> tuple[Part, int, int]:
    """A mail server, its SMTP port and its status port."""
    smtp, status = free_port(), free_port()
    arguments = (
        str(COMMANDS / "smtpstatus-server"),
        f"--smtp.listen-address=127.0.0.1:{smtp}",
        f"--status.listen-address=127.0.0.1:{status}",
        *flags,
    )
    return Part(name, "smtpstatus-server ready", arguments, SMTPSTATUS_TOKEN=TOKEN), smtp, status


@dataclass
class System:
    """Five parts: a mail server, a filter and its next hop, an exporter that reads these three, and Prometheus."""

    parts: Sequence[Part]
    direct: int
    filtered: int
    database: int

    @classmethod
    def start(cls, folder: Path) -> "System":
        """Mail is stored in `folder`/mail and, through the filter, in `folder`/hop."""
        mail, direct, mail_status = server(
            "mail server", f"--maildir={folder / 'mail'}", "--domain=example.org"
        )
        hop, inner, hop_status = server(
            "next hop", f"--maildir={folder / 'hop'}", "--domain=example.org"
        )
        filtering, filtered, filter_status = server(
            "filter", f"--next-hop=smtp://127.0.0.1:{inner}", "--transform=cat"
        )
        web, database = free_port(), free_port()
        targets = {"mail": mail_status, "hop": hop_status, "filter": filter_status}
        (folder / "exporter.yml").write_text(
            "targets:\n"
            + "".join(
                f"  - {{name: {name}, address: '127.0.0.1:{port}', token: {TOKEN}}}\n"
                for name, port in targets.items()
            )
        )
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            "  - job_name: smtpstatus\n"
            f"    static_configs: [{{targets: ['127.0.0.1:{web}']}}]\n"
        )
        exporter = Part(
            "exporter",
            "Listening",
            (
                str(COMMANDS / "smtpstatus-exporter"),
                f"--web.listen-address=127.0.0.1:{web}",
                f"--config.file={folder / 'exporter.yml'}",
            ),
        )
        prometheus = Part(
            "Prometheus",
            "",
            (
                require("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--web.listen-address=127.0.0.1:{database}",
                f"--storage.tsdb.path={folder / 'data'}",
            ),
        )
        return cls((mail, filtering, hop, exporter, prometheus), direct, filtered, database)

    def all_up(self) -> bool:
        with suppress(OSError):
            return query(self.database, "up") == [1] and query(self.database, "smtpstatus_up") == [
                1,
                1,
                1,
            ]
        return False


@contextmanager
def running(folder: Path) -> Iterator[System]:
    system = System.start(folder)
    try:
        yield system
    finally:
        for part in system.parts:
            part.end(signal.SIGKILL)


def kill_at_random(system: System, seconds: float) -> Counter[str]:
    """Ends and restarts parts under traffic; returns how often each, and by which signal."""
    random = Random(25)
    killed: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(random.uniform(0.1, 2))  # the kill comes at any moment
        part = random.choice(system.parts)
        number = random.choice([signal.SIGKILL, signal.SIGTERM])
        part.restart(number)
        killed[f"{part.name} {number.name}"] += 1
    return killed


def test_killed_processes_lose_no_accepted_mail_and_report_no_false_counter(
    tmp_path: Path, scale: Scale
) -> None:
    with running(tmp_path) as system:
        senders = [Sender(system.direct, f"mail-{number}") for number in range(2)]
        senders += [Sender(system.filtered, f"filter-{number}") for number in range(2)]
        for sender in senders:
            sender.start()
        killed = kill_at_random(system, scale(full=600, short=25))
        for sender in senders:
            sender.stopping.set()
        for sender in senders:
            sender.join(60)

        eventually(system.all_up, seconds=60)
        accepted = [mark for sender in senders for mark in sender.accepted]
        found = stored(tmp_path / "mail") + stored(tmp_path / "hop")
        assert all(sender.accepted for sender in senders)
        assert [mark for mark in accepted if not found[mark]] == []
        assert [mark for mark in accepted if found[mark] > 1] == []
        span = f"[{int(scale(full=720, short=90))}s]"
        for counter in ("connections_total", "transferred_bytes_total"):
            series = f"smtpstatus_{counter}"
            for expression in (
                f"min_over_time({series}{span})",
                f"min_over_time(rate({series}[10s]){span[:-1]}:1s])",
            ):
                values = query(system.database, expression)
                assert (len(values), min(values) >= 0) == (3, True)
        # increase() extrapolates by at most half a scrape interval at each end and each restart.
        for target in ("mail", "filter"):
            opened = sum(one.connections for one in senders if one.name.startswith(target))
            series = f'smtpstatus_connections_total{{target="{target}"}}{span}'
            assert query(system.database, f"increase({series})")[0] <= 1.2 * opened + 10
    assert all("Traceback" not in part.output for part in system.parts)
    print(f"{len(accepted)} messages accepted, 0 lost, killed: {dict(sorted(killed.items()))}")
