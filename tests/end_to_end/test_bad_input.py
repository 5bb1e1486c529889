"""Invalid input of every kind: the commands print one line that names its place, and exit with status 2."""

import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import COMMANDS

TOKEN = {"SMTPSTATUS_TOKEN": "secretpa"}
FREE = ("--smtp.listen-address=127.0.0.1:0", "--status.listen-address=127.0.0.1:0")
SERVER = ("smtpstatus-server", *FREE, "--maildir={folder}/mail")
EXPORTER = ("smtpstatus-exporter", "--web.listen-address=127.0.0.1:0")
TARGET = {"SMTPSTATUS_TARGET": "127.0.0.1:7030", **TOKEN}

FILES = {
    "unknown.yml": "targets:\n  - name: a\n    address: 127.0.0.1:1\n    token: secretpa\n    adress: b\n",
    "short.yml": "targets:\n  - name: a\n    address: 127.0.0.1:1\n    token: short\n",
    "broken.yml": "targets: [\n",
    "double.yml": (
        "targets:\n"
        "  - {name: a, address: '127.0.0.1:1', token: secretpa}\n"
        "  - {name: a, address: '127.0.0.1:2', token: secretpa}\n"
    ),
    "short": "short",
}


def typed(
    arguments: tuple[str, ...], environment: dict[str, str], folder: Path, port: int
) -> subprocess.CompletedProcess[str]:
    program, *rest = (text.format(folder=folder, port=port) for text in arguments)
    return subprocess.run(
        [COMMANDS / program, *rest],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (SERVER, {}, "token"),
        (SERVER, {"SMTPSTATUS_TOKEN": "short"}, "exactly 8 ASCII characters"),
        ((*SERVER, "--token-file={folder}/nowhere"), {}, "nowhere"),
        ((*SERVER, "--token-file={folder}/short"), {}, "short"),
        ((*SERVER, "--transform=/no/such/program"), TOKEN, "/no/such/program"),
        ((*SERVER, "--transforms=perhaps"), TOKEN, "transforms"),
        ((*SERVER, "--no-such-flag"), TOKEN, "--no-such-flag"),
        ((*SERVER, "--smtp.listen-address=127.0.0.1:{port}"), TOKEN, "127.0.0.1:{port}"),
        ((*SERVER, "--smtp.listen-address=nonsense"), TOKEN, "nonsense"),
        (("smtpstatus-server", *FREE, "--maildir=/proc/mail"), TOKEN, "/proc/mail"),
        (EXPORTER, {}, "SMTPSTATUS_TARGET"),
        (EXPORTER, {**TARGET, "SMTPSTATUS_TOKEN": "short"}, "exactly 8 ASCII characters"),
        (EXPORTER, {**TARGET, "SMTPSTATUS_TARGET": "::1:7030"}, "::1:7030"),
        ((*EXPORTER, "--config.file={folder}/nowhere.yml"), {}, "nowhere.yml"),
        ((*EXPORTER, "--config.file={folder}/unknown.yml"), {}, "unknown.yml:5"),
        ((*EXPORTER, "--config.file={folder}/short.yml"), {}, "short.yml:4"),
        ((*EXPORTER, "--config.file={folder}/broken.yml"), {}, "broken.yml:"),
        ((*EXPORTER, "--config.file={folder}/double.yml"), {}, "double.yml:3"),
        ((*EXPORTER, "--config.check", "--config.file={folder}/short.yml"), {}, "short.yml:4"),
        ((*EXPORTER, "--log.level=loud"), TARGET, "log.level"),
        ((*EXPORTER, "--no-such-flag"), TARGET, "--no-such-flag"),
        (
            ("smtpstatus-exporter", "--web.listen-address=127.0.0.1:{port}"),
            TARGET,
            "127.0.0.1:{port}",
        ),
        (("smtpstatus", "get", "127.0.0.1:7030"), {}, "SMTPSTATUS_TOKEN"),
        (
            ("smtpstatus", "get", "127.0.0.1:7030", "--token=short"),
            {},
            "exactly 8 ASCII characters",
        ),
        (("smtpstatus", "get", "127.0.0.1:99999"), TOKEN, "127.0.0.1:99999"),
        (("smtpstatus", "get", "127.0.0.1:1", "--dialect=latin"), TOKEN, "latin"),
        (("smtpstatus", "get", "127.0.0.1:1", "--timeout=soon"), TOKEN, "soon"),
        (("smtpstatus", "decode", "xyz"), {}, "hexadecimal"),
        (("smtpstatus-traffic", "nonsense"), {}, "nonsense"),
        (("smtpstatus-traffic", "127.0.0.1:1", "--rate=fast"), {}, "fast"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_reported_in_one_line_with_its_place(
    arguments: tuple[str, ...], environment: dict[str, str], named: str, tmp_path: Path
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = typed(arguments, environment, tmp_path, port)

    last = answer.stderr.splitlines()[-1]
    assert answer.returncode == 2
    assert named.format(port=port) in last
    assert last.startswith(f"{arguments[0]}: ") or f"{arguments[0]} " in last
    assert "Traceback" not in answer.stderr
    assert "secretpa" not in answer.stderr
