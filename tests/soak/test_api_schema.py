"""Requests derived from the exporter's own OpenAPI description (schemathesis), with and without the API token."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from typing import Any

import pytest

from tests.soak.conftest import Scale
from tests.support.gauge import usage
from tests.support.processes import COMMANDS, MailServer, Process, eventually, mail_server, running

pytestmark = pytest.mark.soak

API_TOKEN = "open-sesame"
TARGETS = ("mail-1", "silent", "closed", "bare")
PEAK_MIB = 128
SETTINGS = """
[[operations]]
include-path = "/probe"
# A target of the form x:y that is not an address is a bad request.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "5xx"]
"""
NOT_CHECKED = "not_a_server_error"
"""A 5xx is right where it is described; an undescribed one fails the check of the status."""


@dataclass(frozen=True, slots=True)
class Api:
    """An exporter of a running mail server, a silent one, a closed port, and one without transforms."""

    url: str
    exporter: Process
    server: MailServer

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def metrics_with(self, line: str) -> str:
        """The metrics, or an empty string if they lack a line."""
        metrics = self.get("/metrics").decode()
        return metrics if line in metrics else ""

    def read_directly(self) -> dict[str, Any]:
        """What the mail server reports, without the exporter."""
        command = [f"{COMMANDS}/smtpstatus", "get", f"127.0.0.1:{self.server.status}", "--json"]
        printed = subprocess.run(
            [*command, "--token=secretpa"], capture_output=True, text=True, check=True
        )
        state: dict[str, Any] = json.loads(printed.stdout)
        del state["round_trip_seconds"]
        return state

    def description(self) -> dict[str, Any]:
        """The exporter's description, in which names of targets are suggested besides arbitrary ones."""
        description: dict[str, Any] = json.loads(self.get("/openapi.json"))
        for operations in description["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] in ("name", "target"):
                        parameter["schema"] = {"anyOf": [{"enum": TARGETS}, parameter["schema"]]}
        return description


@contextmanager
def started(folder: Path) -> Iterator[Api]:
    config = folder / "config.yml"
    with mail_server(folder / "mail") as server, socket(AF_INET, SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        ports = (server.status, silent.getsockname()[1], 9, server.status)
        more = ("", "", "", ", dialect: group-11")
        config.write_text(
            "targets:\n"
            + "".join(
                f"  - {{name: {name}, address: '127.0.0.1:{port}', token: secretpa{dialect}}}\n"
                for name, port, dialect in zip(TARGETS, ports, more, strict=True)
            )
            + f"timeout: 100ms\napi: {{token: {API_TOKEN}}}\n"
        )
        with running(
            "smtpstatus-exporter", f"--config.file={config}", "--web.listen-address=127.0.0.1:0"
        ) as process:
            address = process.says(r"Listening.*(127\.0\.0\.1:\d+)")[1]
            yield Api(f"http://{address}", process, server)


@pytest.mark.parametrize("with_token", [False, True], ids=["no token", "API token"])
def test_every_response_is_as_described(tmp_path: Path, scale: Scale, with_token: bool) -> None:
    with started(tmp_path) as api:
        described = tmp_path / "openapi.json"
        described.write_text(json.dumps(api.description()))
        (tmp_path / "schemathesis.toml").write_text(SETTINGS)
        initial = api.read_directly()
        before = usage(api.exporter.pid)
        arguments = [
            *("run", str(described), "--url", api.url, "--checks", "all", "--no-color"),
            *("--exclude-checks", NOT_CHECKED, "--seed", "1", "--max-response-time", "10"),
            *("--max-examples", str(scale(100, 5))),
            *(["--max-time", "60"] if scale.full else ["--phases", "examples,coverage,fuzzing"]),
            *(["-H", f"Authorization: Bearer {API_TOKEN}"] if with_token else []),
        ]
        tested = subprocess.run(
            [f"{COMMANDS}/schemathesis", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

        print(tested.stdout)
        assert tested.returncode == 0, tested.stdout + tested.stderr
        eventually(lambda: usage(api.exporter.pid).descriptors <= before.descriptors + 2)
        assert usage(api.exporter.pid).peak_mib < PEAK_MIB
        assert "Traceback" not in api.exporter.output
        assert "level=error" not in api.exporter.output
        assert ("Transforms switched" in api.exporter.output) is with_token
        state = api.read_directly()
        assert with_token or state == initial
        metrics = eventually(lambda: api.metrics_with('smtpstatus_up{target="mail-1"} 1.0'))
        assert 'smtpstatus_up{target="silent"} 0.0' in metrics
        enabled = 'smtpstatus_transforms_enabled{target="mail-1"} '
        assert f"{enabled}{float(state['transforms_enabled'])}" in metrics
