"""Resources that run out: clear errors, no false report about targets, and recovery without a restart."""

import re
import smtplib
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.reference_server.server import Server, running
from tests.soak.conftest import Scale
from tests.support.processes import COMMANDS, Process, eventually, mail_server
from tests.support.real import require

pytestmark = pytest.mark.soak

UP = re.compile(r"^smtpstatus_up\{[^}]*\} (\S+)$", re.MULTILINE)


@contextmanager
def limited_exporter(tmp_path: Path, servers: int, *limits: str) -> Iterator[str]:
    """An exporter with some healthy targets under resource limits of prlimit(1); yields its URL."""
    with ExitStack() as stack:
        status = [
            stack.enter_context(mail_server(tmp_path / f"mail-{number}")).status
            for number in range(servers)
        ]
        configuration = tmp_path / "exporter.yml"
        configuration.write_text(
            "targets:\n"
            + "".join(
                f"  - {{name: mail-{number}, address: '127.0.0.1:{port}', token: secretpa}}\n"
                for number, port in enumerate(status)
            )
        )
        process = Process(
            require("prlimit"),
            *limits,
            str(COMMANDS / "smtpstatus-exporter"),
            "--web.listen-address=127.0.0.1:0",
            f"--config.file={configuration}",
        )
        try:
            port = int(process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1])
            yield f"http://127.0.0.1:{port}"
            assert "Traceback" not in process.output
        finally:
            process.end(9)  # type: ignore[arg-type]


def scrape(url: str, timeout_s: float = 5) -> tuple[int, list[str]]:
    """The status of a scrape, 0 if there was none, and the values of smtpstatus_up."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=timeout_s) as answer:
            return answer.status, UP.findall(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.code, []
    except OSError:
        return 0, []


def test_an_exporter_without_descriptors_reports_no_target_down(
    tmp_path: Path, scale: Scale
) -> None:
    with limited_exporter(tmp_path, 3, "--nofile=48:48") as url:
        port = int(url.rpartition(":")[2])
        assert scrape(url) == (200, ["1.0"] * 3)
        seen: Counter[int] = Counter()
        for _ in range(scale(full=50, short=5)):
            with ExitStack() as stack:
                for _ in range(80):
                    with suppress(OSError):
                        opened = socket.create_connection(("127.0.0.1", port), timeout=1)
                        stack.enter_context(opened)
                for _ in range(3):
                    status, ups = scrape(url, timeout_s=2)
                    seen[status] += 1
                    assert "0.0" not in ups
            eventually(lambda: scrape(url) == (200, ["1.0"] * 3))
        assert set(seen) <= {0, 200, 503}


@contextmanager
def server_on_a_small_disk(tmp_path: Path, options: str) -> Iterator[Server]:
    """A mail server whose Maildir is a file system of its own, in a mount namespace."""
    maildir = tmp_path / "mail"
    maildir.mkdir()
    mount = f"mount -t tmpfs -o {options} none {maildir}"
    front = (require("unshare"), "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh")
    attempt = subprocess.run([*front, "true"], capture_output=True, text=True, check=False)
    assert attempt.returncode == 0, attempt.stderr
    with running(tmp_path, front=front) as server:
        yield server


def deliver(server: Server, recipient: str, text: str = "hello\r\n") -> int:
    """Sends one message; returns the code of the reply to it, or of the first rejection."""
    with smtplib.SMTP("127.0.0.1", server.smtp, timeout=20) as client:
        try:
            client.sendmail("a@example.com", [recipient], f"Subject: x\r\n\r\n{text}")
        except smtplib.SMTPResponseException as error:
            return error.smtp_code
        except smtplib.SMTPRecipientsRefused as error:
            return next(iter(error.recipients.values()))[0]
    return 250


def test_a_disk_without_inodes_defers_mail_until_there_are_some(tmp_path: Path) -> None:
    with server_on_a_small_disk(tmp_path, "size=64m,nr_inodes=60") as server:
        codes = [deliver(server, f"user{number % 3}@example.com") for number in range(80)]
        folder = Path(f"/proc/{server.process.pid}/root{server.maildir}")
        accepted = codes.count(250)

        assert accepted > 10
        assert set(codes) <= {250, 451, 452}
        assert codes[-1] != 250
        assert len(list(folder.glob("*/new/*"))) == accepted
        for message in folder.glob("*/new/*"):
            message.unlink()
        assert deliver(server, "user0@example.com") == 250


def test_a_server_without_processes_defers_mail_until_there_are_some(
    tmp_path: Path, scale: Scale
) -> None:
    """RLIMIT_NPROC does not apply to root, so the server runs as another user that may read everything."""
    front = (
        require("setpriv"),
        "--reuid=61234",
        "--clear-groups",
        "--inh-caps=+dac_read_search,+dac_override",
        "--ambient-caps=+dac_read_search,+dac_override",
        require("prlimit"),
        "--nproc=20:20",
    )
    with running(
        tmp_path, "--transform", "/bin/sh -c 'sleep 0.2; cat | cat | cat | cat'", front=front
    ) as server:
        codes: Counter[int] = Counter()

        def send() -> None:
            codes[deliver(server, "user@example.com")] += 1

        senders = [threading.Thread(target=send) for _ in range(scale(full=200, short=60))]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(120)

        assert set(codes) <= {250, 451}, codes
        assert codes[451] > 0
        eventually(lambda: deliver(server, "user@example.com") == 250)
        assert server.process.poll() is None


def test_a_server_short_of_memory_rejects_large_mail_and_continues(tmp_path: Path) -> None:
    front = (require("prlimit"), "--as=700000000")
    with running(tmp_path, front=front) as server:
        codes: Counter[int] = Counter()

        def send() -> None:
            body = "Subject: x\r\n\r\n" + ("x" * 76 + "\r\n") * 130_000
            with smtplib.SMTP("127.0.0.1", server.smtp, timeout=60) as client:
                try:
                    client.sendmail("a@example.com", ["b@example.com"], body)
                except smtplib.SMTPResponseException as error:
                    codes[error.smtp_code] += 1
                else:
                    codes[250] += 1

        senders = [threading.Thread(target=send) for _ in range(20)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(120)

        assert set(codes) <= {250, 421, 451, 452}
        assert deliver(server, "b@example.com") == 250
