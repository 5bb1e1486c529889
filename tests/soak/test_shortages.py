"""A container's memory limit, a full disk, threads that cannot be started, and a log that cannot be written."""

import os
import signal
import smtplib
import subprocess
import threading
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.reference_server.server import running
from tests.soak.conftest import Scale
from tests.soak.test_exhaustion import deliver, scrape, server_on_a_small_disk
from tests.support.cgroup import memory_limit
from tests.support.gauge import usage
from tests.support.processes import COMMANDS, Process, eventually, free_port, mail_server
from tests.support.real import require

pytestmark = pytest.mark.soak

LIMIT_MIB = 256
"""As in docker-compose.yml and deploy/kubernetes/."""


def test_a_server_in_a_container_stores_large_mail_within_its_memory_limit(
    tmp_path: Path, scale: Scale
) -> None:
    body = "Subject: x\r\n\r\n" + ("x" * 76 + "\r\n") * 130_000
    codes: Counter[int] = Counter()
    with memory_limit(f"smtpstatus-server-{os.getpid()}", LIMIT_MIB) as group:
        with running(tmp_path, "--transform=cat", front=group.front) as server:

            def send() -> None:
                with smtplib.SMTP("127.0.0.1", server.smtp, timeout=120) as client:
                    client.ehlo()
                    client.mail("a@example.com")
                    client.rcpt("b@example.com")
                    codes[client.data(body)[0]] += 1

            senders = [threading.Thread(target=send) for _ in range(scale(full=60, short=20))]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join(120)
            # On a slow machine a transform may have no slot in time.
            assert set(codes) <= {250, 451}
            assert len(server.stored("b")) == codes[250] > 0
            assert server.process.poll() is None
        assert group.killed == 0


def test_an_exporter_in_a_container_serves_a_fleet_within_its_memory_limit(
    tmp_path: Path, scale: Scale
) -> None:
    """All targets of the fleet are the same server, from many scrapers simultaneously."""
    with (
        mail_server(tmp_path / "mail") as server,
        memory_limit(f"smtpstatus-exporter-{os.getpid()}", LIMIT_MIB) as group,
    ):
        (tmp_path / "exporter.yml").write_text(
            "targets:\n"
            + "".join(
                f"  - {{name: mail-{number}, address: '127.0.0.1:{server.status}', token: secretpa}}\n"
                for number in range(1_000)
            )
        )
        process = Process(
            *group.front,
            str(COMMANDS / "smtpstatus-exporter"),
            "--web.listen-address=127.0.0.1:0",
            f"--config.file={tmp_path / 'exporter.yml'}",
        )
        try:
            url = f"http://127.0.0.1:{process.says(r'Listening.*127[.]0[.]0[.]1:([0-9]+)')[1]}"
            seen: Counter[str] = Counter()

            def scrapes() -> None:
                for _ in range(scale(full=20, short=3)):
                    status, ups = scrape(url, timeout_s=60)
                    seen.update(ups or [str(status)])

            scrapers = [threading.Thread(target=scrapes) for _ in range(8)]
            for scraper in scrapers:
                scraper.start()
            for scraper in scrapers:
                scraper.join(120)
            assert seen["1.0"] > 0
            assert set(seen) <= {"1.0", "503"}
            assert not process.ended
        finally:
            process.end(signal.SIGKILL)
        assert group.killed == 0


def test_a_full_disk_defers_mail_until_there_is_room(tmp_path: Path) -> None:
    with server_on_a_small_disk(tmp_path, "size=2m") as server:
        folder = Path(f"/proc/{server.process.pid}/root{server.maildir}")
        text = ("x" * 70 + "\r\n") * 1_000
        codes = [deliver(server, "b@example.com", text) for _ in range(60)]

        assert codes.count(250) > 5
        assert set(codes) == {250, 452}
        stored = list(folder.glob("*/new/*"))
        assert len(stored) == codes.count(250)
        assert [path for path in folder.glob("*/tmp/*") if path.is_file()] == []
        for message in stored:
            message.unlink()
        eventually(lambda: deliver(server, "b@example.com") == 250)


def test_an_exporter_without_threads_reports_no_target_down(tmp_path: Path, scale: Scale) -> None:
    """Names and secrets in files need threads. RLIMIT_NPROC does not apply to root."""
    user = (require("setpriv"), "--reuid=61235", "--clear-groups")
    limit = (*user, require("prlimit"))
    with mail_server(tmp_path / "mail") as server:
        (tmp_path / "token").write_text("secretpa")
        (tmp_path / "exporter.yml").write_text(
            "targets:\n"
            f"  - {{name: named, address: 'localhost:{server.status}', token: secretpa}}\n"
            f"  - {{name: numeric, address: '127.0.0.1:{server.status}', token_file: token}}\n"
        )
        process = Process(
            *user,
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
            require("prlimit"),
            "--nproc=500:500",
            str(COMMANDS / "smtpstatus-exporter"),
            "--web.listen-address=127.0.0.1:0",
            f"--config.file={tmp_path / 'exporter.yml'}",
        )
        try:
            url = f"http://127.0.0.1:{process.says(r'Listening.*127[.]0[.]0[.]1:([0-9]+)')[1]}"
            for _ in range(scale(full=20, short=3)):
                subprocess.run([*limit, f"--pid={process.pid}", "--nproc=1:500"], check=True)
                status, ups = scrape(url)
                assert (status, set(ups)) in ((200, {"1.0"}), (503, set()))
                subprocess.run([*limit, f"--pid={process.pid}", "--nproc=500:500"], check=True)
                eventually(lambda: scrape(url) == (200, ["1.0"] * 2))
            subprocess.run([*limit, f"--pid={process.pid}", "--nproc=1:500"], check=True)
            assert process.end(signal.SIGTERM) == 0
            assert "Traceback" not in process.output
        finally:
            process.end(signal.SIGKILL)


def test_a_log_that_cannot_be_written_stops_neither_mail_nor_readings(
    tmp_path: Path, scale: Scale
) -> None:
    full = ("sh", "-c", 'exec "$@" 2>/dev/full', "sh")
    with running(tmp_path, front=full) as server:
        web = free_port()
        exporter = Process(
            *full,
            str(COMMANDS / "smtpstatus-exporter"),
            f"--web.listen-address=127.0.0.1:{web}",
            environment={
                "SMTPSTATUS_TARGET": f"127.0.0.1:{server.status}",
                "SMTPSTATUS_TOKEN": "s3cretpa",
            },
        )
        try:
            url = f"http://127.0.0.1:{web}"
            eventually(lambda: scrape(url) == (200, ["1.0"]))
            before = usage(server.process.pid), usage(exporter.pid)
            for _ in range(scale(full=300, short=30)):
                with suppress(OSError):
                    urllib.request.urlopen(f"{url}/probe?target=unknown", timeout=5)
                assert deliver(server, "b@example.com") == 250
                assert scrape(url) == (200, ["1.0"])
            after = usage(server.process.pid), usage(exporter.pid)
            for early, late in zip(before, after, strict=True):
                assert late.resident_mib - early.resident_mib < 8
                assert late.descriptors <= early.descriptors + 2
        finally:
            exporter.end(9)  # type: ignore[arg-type]
