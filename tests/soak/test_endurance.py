"""Endurance: memory, descriptors and threads stay constant under scrapes, mail, switches and reloads."""

import csv
import json
import signal
import smtplib
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from tests.soak.conftest import Scale
from tests.support.gauge import Usage, usage
from tests.support.processes import Process, mail_server, running

pytestmark = pytest.mark.soak

RESULTS = Path(__file__).parents[2] / "run/soak"
GROWTH_MIB = 4
API_TOKEN = "open-sesame"


class Worker(threading.Thread):
    """Repeats a step until stopped; counts the steps and keeps the first error."""

    def __init__(self, step: Callable[[], None], pause_s: float) -> None:
        super().__init__(daemon=True)
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


def test_resources_stay_flat_under_continuous_use(tmp_path: Path, scale: Scale) -> None:
    configuration = tmp_path / "exporter.yml"
    with ExitStack() as stack:
        server = stack.enter_context(mail_server(tmp_path / "mail"))
        configuration.write_text(
            "targets:\n"
            f"  - {{name: mail, address: '127.0.0.1:{server.status}', token: secretpa}}\n"
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
        url = f"http://127.0.0.1:{process.says(r'Listening.*127[.]0[.]0[.]1:([0-9]+)')[1]}"
        enabled = True

        def get(path: str) -> None:
            with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
                answer.read()

        def switch() -> None:
            nonlocal enabled
            enabled = not enabled
            request = urllib.request.Request(
                f"{url}/api/v1/targets/mail/transforms",
                data=json.dumps({"enabled": enabled}).encode(),
                headers={
                    "Authorization": f"Bearer {API_TOKEN}",
                    "Content-Type": "application/json",
                },
                method="PUT",
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["enabled"] is enabled

        def mail() -> None:
            with smtplib.SMTP("127.0.0.1", server.smtp, timeout=10) as client:
                client.sendmail("a@example.org", ["b@example.org"], "Subject: x\r\n\r\nhello\r\n")
            for path in (server.maildir / "b" / "new").iterdir():
                path.unlink()

        workers = [
            Worker(lambda: get("/metrics"), 0.05),
            Worker(lambda: get("/probe?target=mail"), 0.02),
            Worker(lambda: get("/api/v1/targets"), 0.2),
            Worker(mail, 0.02),
            Worker(switch, 0.1),
            Worker(lambda: process.send(signal.SIGHUP), 1.0),
        ]
        for worker in workers:
            worker.start()
        samples = observe([server.process, process], scale(full=600, short=30), workers)
        for worker in workers:
            worker.stopping.set()
            worker.join(15)
        write(samples)

        assert [worker.error for worker in workers if worker.error] == []
        assert all(worker.steps > 5 for worker in workers)
        for history in samples:
            assert_flat(history)
        assert "Traceback" not in process.output + server.process.output


def observe(
    processes: list[Process], seconds: int, workers: list[Worker]
) -> list[list[tuple[float, Usage]]]:
    """Samples the usage of each process once a second."""
    start = time.monotonic()
    samples: list[list[tuple[float, Usage]]] = [[] for _ in processes]
    while (at := time.monotonic() - start) < seconds and not any(one.error for one in workers):
        for history, process in zip(samples, processes, strict=True):
            history.append((at, usage(process.pid)))
        workers[0].stopping.wait(1)
    return samples


def assert_flat(history: list[tuple[float, Usage]]) -> None:
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


def write(samples: list[list[tuple[float, Usage]]]) -> None:
    """Writes the measurements as a table, and memory as an SVG, to run/soak/."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "endurance.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["process", "seconds", "resident_mib", "descriptors", "threads", "cpu_s"])
        for name, history in zip(("server", "exporter"), samples, strict=True):
            for at, one in history:
                memory = round(one.resident_mib, 1)
                table.writerow([name, round(at), memory, one.descriptors, one.threads, one.cpu_s])
    (RESULTS / "endurance.svg").write_text(picture(samples))


def picture(samples: list[list[tuple[float, Usage]]]) -> str:
    """Resident memory over time, 0 to 160 MiB, as an SVG."""
    last = max(at for history in samples for at, _ in history) or 1
    lines = [
        f'<polyline fill="none" stroke="{colour}" points="'
        + " ".join(
            f"{40 + 550 * at / last:.1f},{180 - one.resident_mib:.1f}" for at, one in history
        )
        + f'"/><text x="45" y="{30 + 15 * number}" fill="{colour}">{name}</text>'
        for number, (name, colour, history) in enumerate(
            zip(("server", "exporter"), ("#3274d9", "#e02f44"), samples, strict=True)
        )
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 200" font-size="11">'
        '<rect width="600" height="200" fill="white"/>'
        '<path d="M40 20V180H590" fill="none" stroke="black"/>'
        f'<text x="2" y="24">160 MiB</text><text x="500" y="196">{last:.0f} s</text>'
        f"{''.join(lines)}</svg>\n"
    )
