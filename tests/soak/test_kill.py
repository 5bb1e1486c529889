"""Each process killed at random moments under traffic: no accepted mail is lost, no counter is false, all recover."""

import json
import signal
import smtplib
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
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

    def __init__(self, ready: str, arguments: Sequence[str], **environment: str) -> None:
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
        super().__init__(daemon=True)
        self.accepted: list[str] = []
        self.connections = 0
        self._port = port
        self._name = name
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            with suppress(OSError, smtplib.SMTPException):
                with smtplib.SMTP("127.0.0.1", self._port, timeout=10) as client:
                    self.connections += 1
                    while not self.stopping.is_set():
                        number += 1
                        mark = f"{self._name}-{number}"
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


def test_killed_processes_lose_no_accepted_mail_and_report_no_false_counter(
    tmp_path: Path, scale: Scale
) -> None:
    random = Random(25)
    smtp, status, web, database = (free_port() for _ in range(4))
    maildir = tmp_path / "mail"
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: smtpstatus\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{web}']}}]\n"
    )
    server = Part(
        "smtpstatus-server ready",
        [
            str(COMMANDS / "smtpstatus-server"),
            f"--smtp.listen-address=127.0.0.1:{smtp}",
            f"--status.listen-address=127.0.0.1:{status}",
            f"--maildir={maildir}",
            "--domain=example.org",
        ],
        SMTPSTATUS_TOKEN=TOKEN,
    )
    exporter = Part(
        "Listening",
        [str(COMMANDS / "smtpstatus-exporter"), f"--web.listen-address=127.0.0.1:{web}"],
        SMTPSTATUS_TARGET=f"127.0.0.1:{status}",
        SMTPSTATUS_TOKEN=TOKEN,
    )
    prometheus = Part(
        "",
        [
            require("prometheus"),
            f"--config.file={configuration}",
            f"--web.listen-address=127.0.0.1:{database}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
        ],
    )
    parts = [server, exporter, prometheus]
    senders = [Sender(smtp, str(number)) for number in range(4)]
    for sender in senders:
        sender.start()
    until = time.monotonic() + scale(full=600, short=25)
    while time.monotonic() < until:
        senders[0].stopping.wait(random.uniform(0.5, 4))
        part = random.choice([server, server, exporter, prometheus])
        part.restart(random.choice([signal.SIGKILL, signal.SIGTERM]))
    for sender in senders:
        sender.stopping.set()
    for sender in senders:
        sender.join(30)

    def all_up() -> bool:
        with suppress(OSError):
            return query(database, "up") == [1] and query(database, "smtpstatus_up") == [1]
        return False

    try:
        eventually(all_up, seconds=60)
        accepted = [mark for sender in senders for mark in sender.accepted]
        found = stored(maildir)
        assert accepted
        assert [mark for mark in accepted if not found[mark]] == []
        assert [mark for mark in accepted if found[mark] > 1] == []
        span = f"[{int(scale(full=700, short=90))}s]"
        for counter in ("connections_total", "transferred_bytes_total"):
            series = f"smtpstatus_{counter}"
            assert query(database, f"min_over_time({series}{span})")[0] >= 0
            assert query(database, f"min_over_time(rate({series}[10s]){span[:-1]}:1s])")[0] >= 0
        # increase() extrapolates by at most half a scrape interval at each end and each restart.
        opened = sum(sender.connections for sender in senders)
        increase = query(database, f"increase(smtpstatus_connections_total{span})")[0]
        assert increase <= 1.2 * opened + 10
    finally:
        for part in parts:
            part.end(signal.SIGKILL)
    assert "Traceback" not in server.output + exporter.output
