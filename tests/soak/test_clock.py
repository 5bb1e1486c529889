"""Steps of the wall clock by an hour and a day, both ways: intervals and deadlines follow the monotonic clock."""

import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.exporter.test_tls import Authority
from tests.soak.conftest import Scale
from tests.support.clock import SLACK_S, STEPS, WallClock, closes_after
from tests.support.filter import send
from tests.support.processes import COMMANDS, Process, eventually, mail_server, running

pytestmark = pytest.mark.soak

TIMEOUT_S = 1.0


@dataclass
class Exporter:
    """Exporter with TLS, one good target `mail` and one silent one."""

    process: Process
    port: int

    def get(self, path: str, token: str = "", method: str = "GET", body: object = None) -> str:
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            method=method,
        )
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20, context=unverified()) as answer:
            text: str = answer.read().decode()
            return text

    def samples(self) -> dict[str, float]:
        lines = (line for line in self.get("/metrics").splitlines() if line[:1] not in "#")
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def last(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.get("/api/v1/targets/mail/probes"))["last"]
        return found

    def accepts(self, token: str) -> bool:
        try:
            self.get("/api/v1/targets/mail/transforms", token, "PUT", {"enabled": True})
        except urllib.error.HTTPError as error:
            return error.code != 401
        return True

    def certificate(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self.port))

    def presents_another_than(self, certificate: str) -> bool:
        return self.certificate() != certificate


def unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def exporter(tmp_path: Path, clock: WallClock, status: int) -> Iterator[Exporter]:
    Authority(tmp_path).create().issue("server")
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
    )
    (tmp_path / "api-token").write_text("token-0\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        (tmp_path / "exporter.yml").write_text(
            f"timeout: {TIMEOUT_S}s\napi: {{token_file: api-token}}\ntargets:\n"
            f"  - {{name: mail, address: '127.0.0.1:{status}', token: secretpa}}\n"
            f"  - {{name: silent, address: '127.0.0.1:{silent.getsockname()[1]}', token: secretpa}}\n"
        )
        with running(
            "smtpstatus-exporter",
            "--web.listen-address=127.0.0.1:0",
            "--web.idle-timeout=2s",
            f"--config.file={tmp_path / 'exporter.yml'}",
            f"--web.config.file={tmp_path / 'web.yml'}",
            **clock.environment,
        ) as process:
            yield Exporter(process, int(process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1]))
            assert "Traceback" not in process.output


def test_readings_of_the_exporter_are_right_while_the_wall_clock_steps(
    tmp_path: Path, clock: WallClock, scale: Scale
) -> None:
    with (
        mail_server(tmp_path / "mail", environment=clock.environment) as mail,
        exporter(tmp_path, clock, mail.status) as exported,
    ):
        connections = 0.0
        for step in STEPS[: scale(full=6, short=2)] * scale(full=5, short=1):
            send(mail.smtp, "Subject: x\n\nhello\n", "b@example.org")
            began = time.monotonic()
            stepping = threading.Timer(0.3, clock.step, [step])  # during the scrape
            stepping.start()
            found = exported.samples()
            took = time.monotonic() - began
            stepping.join()

            assert (found['smtpstatus_up{target="mail"}'], took < TIMEOUT_S + SLACK_S) == (1, True)
            assert found['smtpstatus_scrape_error{reason="timeout",target="silent"}'] == 1
            assert connections < found['smtpstatus_connections_total{target="mail"}']
            connections = found['smtpstatus_connections_total{target="mail"}']
            for name, value in found.items():
                if "seconds" in name and "timestamp" not in name and "start_time" not in name:
                    assert 0 <= value < 600, name
            assert time.time() + step - 60 < exported.last()[-1]["at"] < time.time() + step + 60
            assert all(0 <= entry["seconds"] < TIMEOUT_S + SLACK_S for entry in exported.last())


def test_changed_secrets_and_certificates_are_read_after_steps_of_the_wall_clock(
    tmp_path: Path, clock: WallClock, scale: Scale
) -> None:
    with (
        mail_server(tmp_path / "mail", environment=clock.environment) as mail,
        exporter(tmp_path, clock, mail.status) as exported,
    ):
        for number, step in enumerate(STEPS[: scale(full=6, short=2)], 1):
            clock.step(step)
            before = exported.certificate()
            assert exported.accepts(f"token-{number - 1}")
            (tmp_path / "api-token").write_text(f"token-{number}\n")
            Authority(tmp_path).issue("server")
            began = time.monotonic()
            eventually(partial(exported.accepts, f"token-{number}"))
            eventually(partial(exported.presents_another_than, before))
            assert not exported.accepts(f"token-{number - 1}")
            assert time.monotonic() - began < 2 * SLACK_S


@pytest.mark.parametrize("step", [86_400, -86_400])
def test_idle_http_connections_are_closed_after_the_same_time(
    tmp_path: Path, clock: WallClock, step: int
) -> None:
    with exporter(tmp_path, clock, 9) as exported:
        plain = socket.create_connection(("127.0.0.1", exported.port), timeout=20)
        with unverified().wrap_socket(plain) as opened:
            opened.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
            assert opened.recv(4096).startswith(b"HTTP/1.1 200")
            clock.step(step)
            seconds, _ = closes_after(opened)

    assert 1.5 < seconds < 2 + SLACK_S


def test_rates_of_the_watch_command_are_right_while_the_wall_clock_steps(
    tmp_path: Path, clock: WallClock
) -> None:
    with mail_server(tmp_path / "mail", environment=clock.environment) as mail:
        command = (
            *(COMMANDS / "smtpstatus", "watch", f"127.0.0.1:{mail.status}", "--token=secretpa"),
            *("--json", "--interval=2s", f"--count={len(STEPS) + 2}"),
        )
        samples = []
        with subprocess.Popen(
            command, env={**clock.environment}, stdout=subprocess.PIPE, text=True
        ) as watch:
            assert watch.stdout
            for line, step in zip(watch.stdout, (*STEPS, 0, 0), strict=True):
                samples.append(json.loads(line))
                clock.step(step)
                send(mail.smtp, "Subject: x\n\nhello\n", "b@example.org")

    assert [sample for sample in samples if not sample["up"] or sample["restarted"]] == []
    rates = [sample["per_second"]["connections_total"] for sample in samples[1:]]
    assert all(0 <= rate < 100 for rate in rates)
    assert max(rates) > 0.05
