"""Units of deploy/systemd, and the command with systemd's protocols."""

import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from exporter.configuration import flags
from tests.support.processes import COMMANDS, Process, eventually, free_port, running
from tests.support.real import require

UNITS = Path(__file__).parents[2] / "deploy/systemd"
TARGET = {"SMTPSTATUS_TARGET": "127.0.0.1:9", "SMTPSTATUS_TOKEN": "secretpa"}


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with this machine's path of the command."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/smtpstatus/bin", str(COMMANDS))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_analyze_reports_no_problem_in_the_units(units: Path) -> None:
    checked = subprocess.run(
        [require("systemd-analyze"), "verify", "--man=no", *units.iterdir()],
        capture_output=True,
        text=True,
    )

    assert [line for line in checked.stderr.splitlines() if "smtpstatus" in line] == []


@pytest.mark.parametrize("service", ["smtpstatus-exporter", "smtpstatus-server"])
def test_the_services_have_a_low_security_exposure(units: Path, service: str) -> None:
    """An exposure of at most 1.5 of 10."""
    subprocess.run(
        [
            *(require("systemd-analyze"), "security", "--offline=true", "--threshold=15"),
            units / f"{service}.service",
        ],
        check=True,
        capture_output=True,
    )


def test_the_service_starts_the_command_with_existing_flags() -> None:
    text = (UNITS / "smtpstatus-exporter.service").read_text()
    [line] = re.findall(r"^ExecStart=(.*)$", text, flags=re.M)
    command, *arguments = shlex.split(line)

    assert Path(command).name == "smtpstatus-exporter"
    assert flags.parse(arguments, {}).systemd_socket


def test_the_service_is_not_restarted_after_a_wrong_configuration() -> None:
    text = (UNITS / "smtpstatus-exporter.service").read_text()
    ended = subprocess.run(
        [COMMANDS / "smtpstatus-exporter", "--config.file=/nonexistent.yml"],
        capture_output=True,
        timeout=20,
    )

    assert f"RestartPreventExitStatus={ended.returncode}\n" in text


def test_the_example_with_credentials_uses_flags_that_exist() -> None:
    text = (UNITS / "smtpstatus-exporter.service").read_text()
    [line] = re.findall(r"^#ExecStart=(/.*)$", text, flags=re.M)
    _, *arguments = shlex.split(line.replace("%d", "/run/credentials/unit"))

    options = flags.parse(arguments, {})

    for path in (*options.config_files, options.web_config_file):
        assert path is not None
        assert f"#LoadCredential={path.name}:" in text


def test_socket_activation_starts_the_command() -> None:
    port = free_port()
    process = Process(
        require("systemd-socket-activate"),
        f"--listen=127.0.0.1:{port}",
        *(f"--setenv={name}={value}" for name, value in TARGET.items()),
        str(COMMANDS / "smtpstatus-exporter"),
        "--web.systemd-socket",
    )
    try:
        process.says("Listening on 127.0.0.1")
        answer = httpx.get(f"http://127.0.0.1:{port}/-/healthy", trust_env=False, timeout=20)

        assert answer.status_code == 200
    finally:
        process.end(signal.SIGTERM)


@pytest.fixture
def notices(tmp_path: Path) -> Iterator[socket.socket]:
    """Notification socket, as of systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


def test_systemd_is_notified_of_start_reload_and_stop(notices: socket.socket) -> None:
    def notice() -> str:
        return notices.recv(1024).decode().partition("\n")[0]

    with running(
        "smtpstatus-exporter",
        "--web.listen-address=127.0.0.1:0",
        NOTIFY_SOCKET=notices.getsockname(),
        **TARGET,
    ) as process:
        states = [notice()]
        process.send(signal.SIGHUP)
        states += [notice(), notice()]
        process.send(signal.SIGTERM)
        states.append(notice())

        assert states == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
        assert process.wait() == 0


def test_the_command_listens_on_a_unix_socket_and_a_port_simultaneously(tmp_path: Path) -> None:
    path = tmp_path / "exporter.sock"
    with running(
        "smtpstatus-exporter",
        f"--web.listen-address=unix:{path}",
        "--web.listen-address=127.0.0.1:0",
        **TARGET,
    ) as process:
        address = process.says(r"Listening.*address=\"?(127\.0\.0\.1:\d+)")[1]
        eventually(path.is_socket)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            answers = [
                client.get("http://exporter/-/healthy").status_code,
                httpx.get(f"http://{address}/-/healthy", trust_env=False).status_code,
            ]

    assert answers == [200, 200]


def test_a_port_in_use_ends_the_command_with_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            [COMMANDS / "smtpstatus-exporter", f"--web.listen-address={address}"],
            env=TARGET,
            capture_output=True,
            text=True,
            timeout=20,
        )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"smtpstatus-exporter: --web.listen-address {address}: port already in use:"
        " stop the other program, or choose another port\n"
    )


def test_the_server_starts_with_the_flags_of_its_unit(tmp_path: Path) -> None:
    text = (UNITS / "smtpstatus-server.service").read_text()
    [line] = re.findall(r"^ExecStart=(.*)$", text, flags=re.M)
    (tmp_path / "token").write_text("secretpa")
    for variable in ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        line = line.replace(f"${{{variable}}}", str(tmp_path))
    command, *arguments = shlex.split(line)

    with running(
        Path(command).name,
        *arguments,
        SMTPSTATUS_SERVER_SMTP_LISTEN_ADDRESS="127.0.0.1:0",
        SMTPSTATUS_SERVER_STATUS_LISTEN_ADDRESS="127.0.0.1:0",
    ) as process:
        process.says("ready")
    assert (tmp_path / "mail").is_dir()
