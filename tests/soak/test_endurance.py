"""Endurance: memory, descriptors and tasks stay constant under scrapes, mail, switches and reloads.

The measurements are written to run/soak/endurance.csv, and drawn to the file that SOAK_PLOT names.
"""

import csv
import json
import os
import signal
import smtplib
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median

import pytest

from tests.soak.conftest import Scale
from tests.support.filter import filter_server
from tests.support.gauge import Usage, usage
from tests.support.plot import Line, as_svg
from tests.support.processes import MailServer, Process, mail_server, running

pytestmark = pytest.mark.soak

RESULTS = Path(__file__).parents[2] / "run/soak"
GROWTH_MIB = 4
API_TOKEN = "open-sesame"

History = list[tuple[float, Usage]]


class Worker(threading.Thread):
    """Repeats a step until stopped; counts the steps and keeps the first error."""

    def __init__(self, name: str, step: Callable[[], None], pause_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.steps = 0
        self.error: BaseException | None = None
        self._step = step
        self._pause_s = pause_s
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopping.wait(self._pause_s):
                self._step()
                self.steps += 1
        except BaseException as error:
            self.error = error


@dataclass
class System:
    """A mail server, a filter in front of it that replies before the queue, and an exporter that reads both."""

    server: MailServer
    filter: Process
    filter_port: int
    exporter: Process
    url: str
    enabled: bool = True
    sent: int = 0
    stored: int = 0

    @property
    def processes(self) -> Mapping[str, Process]:
        return {"server": self.server.process, "filter": self.filter, "exporter": self.exporter}

    def get(self, path: str) -> None:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
            answer.read()

    def switch(self) -> None:
        """Turns the transforms of both on or off."""
        self.enabled = not self.enabled
        for target in ("mail", "filter"):
            request = urllib.request.Request(
                f"{self.url}/api/v1/targets/{target}/transforms",
                data=json.dumps({"enabled": self.enabled}).encode(),
                headers={
                    "Authorization": f"Bearer {API_TOKEN}",
                    "Content-Type": "application/json",
                },
                method="PUT",
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert json.load(answer)["enabled"] is self.enabled

    def mail(self) -> None:
        """Sends a message to the server and one through the filter; counts and removes what is stored."""
        for port in (self.server.smtp, self.filter_port):
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                client.sendmail("a@example.org", ["b@example.org"], "Subject: x\r\n\r\nhello\r\n")
            self.sent += 1
        for path in (self.server.maildir / "b" / "new").iterdir():
            assert path.read_text().lower().endswith("\n\nhello\n")
            path.unlink()
            self.stored += 1

    def reload(self) -> None:
        self.exporter.send(signal.SIGHUP)


@contextmanager
def system(tmp_path: Path) -> Iterator[System]:
    transform = "--transform=sed s/^hello/HELLO/"
    with ExitStack() as stack:
        server = stack.enter_context(mail_server(tmp_path / "mail", transform))
        filtering = stack.enter_context(
            filter_server(
                "--smtp.listen-address=127.0.0.1:0",
                f"--next-hop=smtp://127.0.0.1:{server.smtp}",
                transform,
            )
        )
        configuration = tmp_path / "exporter.yml"
        configuration.write_text(
            "targets:\n"
            f"  - {{name: mail, address: '127.0.0.1:{server.status}', token: secretpa}}\n"
            f"  - {{name: filter, address: '127.0.0.1:{filtering.status}', token: secretpa}}\n"
            "  - {name: closed, address: '127.0.0.1:9', token: secretpa}\n"
            f"api: {{token: {API_TOKEN}}}\n"
        )
        process = stack.enter_context(
            running(
                "smtpstatus-exporter",
                "--web.listen-address=127.0.0.1:0",
                f"--config.file={configuration}",
            )
        )
        port = process.says(r"Listening.*127[.]0[.]0[.]1:([0-9]+)")[1]
        smtp = int(filtering.process.says(r"smtp 127\.0\.0\.1:(\d+)")[1])
        yield System(server, filtering.process, smtp, process, f"http://127.0.0.1:{port}")


def test_resources_stay_flat_under_continuous_use(tmp_path: Path, scale: Scale) -> None:
    with system(tmp_path) as one:
        workers = [
            Worker("scrapes", lambda: one.get("/metrics"), 0.1),
            Worker("probes", lambda: one.get("/probe?target=filter"), 0.05),
            Worker("API requests", lambda: one.get("/api/v1/targets"), 0.2),
            Worker("messages", one.mail, 0.05),
            Worker("switches", one.switch, 0.1),
            Worker("reloads", one.reload, 1.0),
        ]
        for worker in workers:
            worker.start()
        samples = observe(one.processes, scale(full=900, short=30), workers)
        for worker in workers:
            worker.stopping.set()
        for worker in workers:
            worker.join(30)
        write(samples)

        assert [worker.error for worker in workers if worker.error] == []
        assert all(worker.steps > 5 for worker in workers)
        assert one.stored == one.sent
        for history in samples.values():
            assert_flat(history)
        assert all("Traceback" not in process.output for process in one.processes.values())
    print({worker.name: worker.steps for worker in workers}, one.sent)


def observe(
    processes: Mapping[str, Process], seconds: int, workers: list[Worker]
) -> dict[str, History]:
    """Samples the usage of each process once a second."""
    start = time.monotonic()
    samples: dict[str, History] = {name: [] for name in processes}
    while (at := time.monotonic() - start) < seconds and not any(one.error for one in workers):
        for name, process in processes.items():
            samples[name].append((at, usage(process.pid)))
        workers[0].stopping.wait(1)
    return samples


def assert_flat(history: History) -> None:
    """Compares the last quarter with the second: caches fill in the first."""
    quarter = len(history) // 4
    early = [one for _, one in history[quarter : 2 * quarter]]
    late = [one for _, one in history[-quarter:]]

    assert (
        median(one.resident_mib for one in late) - median(one.resident_mib for one in early)
        < GROWTH_MIB
    )
    assert max(one.descriptors for one in late) <= max(one.descriptors for one in early) + 8
    assert max(one.threads for one in late) <= max(one.threads for one in early) + 1
    assert max(one.children for one in late) <= max(one.children for one in early) + 4


def write(samples: Mapping[str, History]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "endurance.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["process", "seconds", *(field.name for field in fields(Usage))])
        for name, history in samples.items():
            table.writerows([name, round(at, 1), *astuple(one)] for at, one in history)
    if plot := os.environ.get("SOAK_PLOT"):
        Path(plot).write_text(picture(samples))


def picture(samples: Mapping[str, History]) -> str:
    def lines(value: Callable[[Usage], float]) -> dict[str, Line]:
        return {
            name: [(at, value(one)) for at, one in history] for name, history in samples.items()
        }

    return as_svg(
        {
            "Resident memory, MiB": lines(lambda one: one.resident_mib),
            "Open descriptors": lines(lambda one: one.descriptors),
            "Tasks: threads and child processes": lines(lambda one: one.threads + one.children),
        }
    )
