"""The installed command, started and stopped as by a service manager."""

import http.client
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from smtpstatus.version import __version__
from tests.support.processes import COMMANDS, Process

ONE_TARGET = {"SMTPSTATUS_TARGET": "127.0.0.1:1", "SMTPSTATUS_TOKEN": "secretpa"}
ANYWHERE = ("--web.listen-address", "127.0.0.1:0")


@contextmanager
def exporter(*arguments: str, **environment: str) -> Iterator[Process]:
    command = str(COMMANDS / "smtpstatus-exporter")
    process = Process(command, *arguments, environment=environment)
    try:
        yield process
    finally:
        if not process.ended:
            process.end(signal.SIGKILL)


def address(process: Process) -> str:
    return process.says(r'msg="Listening" address=(\S+)')[1]


def get(process: Process, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address(process)}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def refused(*arguments: str, **environment: str) -> str:
    """Error of a command that fails to start: one line, exit status 2, no traceback."""
    ended = subprocess.run(
        [str(COMMANDS / "smtpstatus-exporter"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("smtpstatus-exporter: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_the_command_logs_its_address_serves_and_exits_cleanly_on_both_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with exporter(*ANYWHERE, **ONE_TARGET) as process:
            assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d+", address(process))
            assert get(process, "/-/ready") == (200, "Ready\n")
            status, text = get(process, "/metrics")
            assert (status, 'smtpstatus_up{target="127.0.0.1:1"} 0.0' in text) == (200, True)

            before = time.monotonic()
            assert process.end(number) == 0
            assert time.monotonic() - before < 2
            assert "Traceback" not in process.output


def test_shutdown_during_a_scrape_takes_less_than_two_seconds(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        config = tmp_path / "config.yml"
        config.write_text(
            f"timeout: 1m\ntargets: [{{name: mute, address: '{target}', token: secretpa}}]"
        )
        with exporter("--config.file", str(config), *ANYWHERE) as process:
            host, port = address(process).split(":")
            with socket.create_connection((host, int(port))) as scraper:
                scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                silent.recv(64)

                before = time.monotonic()
                assert process.end() == 0
                assert time.monotonic() - before < 2
                assert scraper.recv(64).startswith(b"HTTP/1.1 503 ")
            assert "Traceback" not in process.output


def test_the_command_applies_the_connection_limits() -> None:
    with exporter(*ANYWHERE, **ONE_TARGET) as process:
        with closing(http.client.HTTPConnection(address(process), timeout=5)) as asking:
            asking.request("GET", "/", headers={"X": "x" * 40_000})

            assert asking.getresponse().status == 431


def test_during_shutdown_the_exporter_is_not_ready_and_still_serves() -> None:
    with exporter(*ANYWHERE, **ONE_TARGET) as process:
        with closing(http.client.HTTPConnection(address(process), timeout=5)) as asking:
            assert status(asking, "/-/ready") == 200

            process.send(signal.SIGTERM)
            process.says("Stopping")

            assert status(asking, "/-/ready") == 503
            assert status(asking, "/-/healthy") == 200
        assert process.wait() == 0


def status(asking: http.client.HTTPConnection, path: str) -> int:
    asking.request("GET", path)
    answer = asking.getresponse()
    answer.read()
    return answer.status


def test_a_silent_name_server_does_not_delay_shutdown(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "look_up = socket.getaddrinfo\n"
        "def slow(host, *rest, **more):\n"
        "    if host == 'slow.example' and not more.get('flags'):  # the flag is AI_NUMERICHOST\n"
        "        print('looking up', flush=True)\n"
        "        time.sleep(30)\n"
        "    return look_up(host, *rest, **more)\n"
        "socket.getaddrinfo = slow\n"
    )
    environment = {"SMTPSTATUS_TARGET": "slow.example:7030", "SMTPSTATUS_TOKEN": "secretpa"}
    with exporter(*ANYWHERE, **environment, PYTHONPATH=str(tmp_path)) as process:
        host, port = address(process).split(":")
        with socket.create_connection((host, int(port))) as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            process.says("looking up")

            before = time.monotonic()
            assert process.end() == 0
            assert time.monotonic() - before < 2.5


def test_sighup_reloads_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("targets: []")
    with exporter("--config.file", str(config), *ANYWHERE) as process:
        address(process)
        config.write_text("targets: [")
        process.send(signal.SIGHUP)
        process.says(
            r"Configuration reload failed; keeping the previous configuration.*config\.yml:\d: invalid YAML"
        )
        assert get(process, "/-/ready")[0] == 200

        config.write_text("targets: [{name: new, address: '127.0.0.1:1', token: secretpa}]")
        process.send(signal.SIGHUP)
        process.says('msg="Configuration loaded" targets=1')
        assert get(process, "/probe?target=new")[0] == 200


def test_sighup_during_startup_reloads_once_it_listens(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "class Waiting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'exporter.server':\n"
        "            print('loading', flush=True)\n"
        f"            while not os.path.exists('{tmp_path}/go'):\n"
        "                time.sleep(0.01)\n"
        "sys.meta_path.insert(0, Waiting())\n"
    )
    with exporter(*ANYWHERE, **ONE_TARGET, PYTHONPATH=str(tmp_path)) as process:
        process.says("loading")
        process.send(signal.SIGHUP)
        (tmp_path / "go").touch()
        process.says("Listening")
        process.says('msg="Configuration loaded" targets=1')
        assert get(process, "/-/ready")[0] == 200


def test_the_first_log_line_names_version_configuration_targets_and_tls(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("targets: [{name: a, address: '127.0.0.1:1', token: secretpa}]")
    with exporter("--config.file", str(config), *ANYWHERE) as process:
        process.says("Listening")
        first = process.output.splitlines()[0]
    assert re.search(
        rf'msg="Starting smtpstatus-exporter" version={re.escape(__version__)} config={config}'
        " targets=1 tls=false$",
        first,
    )


def test_the_debug_level_logs_every_reading_and_every_rejected_probe() -> None:
    with exporter(*ANYWHERE, "--log.level=debug", **ONE_TARGET) as process:
        assert get(process, "/probe?target=127.0.0.1:1")[0] == 200
        process.says(
            'level=debug msg="Server read" target=127.0.0.1:1 address=127.0.0.1:1 up=false'
        )
        assert get(process, f"/probe?target={'x' * 5000}")[0] == 404
        line = process.says('level=debug msg="Probe refused" .*')[0]
        assert len(line) < 1000
        assert get(process, "/probe?target=10.0.0.1:22")[0] == 403
        process.says('msg="Probe refused" asked=10.0.0.1:22')


def test_the_log_can_be_json_and_contains_no_token(tmp_path: Path) -> None:
    environment = {**ONE_TARGET, "SMTPSTATUS_API_TOKEN": "open-sesame"}
    with exporter(*ANYWHERE, "--log.format=json", "--log.level=debug", **environment) as process:
        listening = process.says(r'"msg": "Listening", "address": "(\S+)"')[1]
        with urllib.request.urlopen(f"http://{listening}/metrics", timeout=5) as answer:
            answer.read()
        process.says("Target is down")
        assert "secretpa" not in process.output
        assert "open-sesame" not in process.output


def test_config_check_reports_the_target_count_or_the_error(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("targets: [{name: a, address: h, token: secretpa}]")
    output = subprocess.check_output(
        [str(COMMANDS / "smtpstatus-exporter"), "--config.check", "--config.file", str(config)],
        text=True,
        timeout=20,
    )
    assert output == "configuration OK: 1 target\n"

    config.write_text("targets:\n  - name: a\n    adress: h\n    token: secretpa\n")
    line = refused("--config.check", "--config.file", str(config))
    assert f"{config}:3: targets[0]: unknown key: did you mean address?" in line


def test_config_check_syntax_needs_no_secrets(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        "targets:\n"
        "  - {name: a, address: h, token_file: $CREDENTIALS_DIRECTORY/a}\n"
        "  - {name: b, address: h, token_env: UNSET}\n"
        "probe: [{networks: [10.0.0.0/8], token_file: /run/secrets/none}]\n"
        "api: {token_file: none}\n"
    )
    command = [str(COMMANDS / "smtpstatus-exporter"), "--config.check-syntax", "--config.file"]
    output = subprocess.check_output([*command, str(config)], text=True, timeout=20)
    assert output == "configuration syntax OK: 2 targets\n"

    config.write_text("targets: [{name: a, address: h, token: short}]")
    assert "token has 5 bytes" in refused("--config.check-syntax", "--config.file", str(config))


@pytest.mark.parametrize(
    ("arguments", "environment", "output"),
    [
        ((), {}, "no targets configured: pass --config.file, or set SMTPSTATUS_TARGET"),
        ((), {"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN": "no"}, "token has 2 bytes"),
        (("--log.level=loud",), ONE_TARGET, "--log.level: 'loud' is not one of"),
        (("--web.listen-address=nonsense",), ONE_TARGET, "--web.listen-address nonsense: "),
        (("--web.config.file=/none.yml",), ONE_TARGET, "/none.yml: cannot read the file"),
        ((), {**ONE_TARGET, "PROMETHEUS_MULTIPROC_DIR": "/tmp"}, "PROMETHEUS_MULTIPROC_DIR"),
    ],
)
def test_a_startup_error_is_one_line_and_exit_status_2(
    arguments: tuple[str, ...], environment: dict[str, str], output: str
) -> None:
    assert output in refused(*arguments, **environment)


def test_the_descriptor_limit_is_raised_to_the_hard_limit() -> None:
    command = (
        f"ulimit -Sn 100; ulimit -Hn 300; exec {COMMANDS}/smtpstatus-exporter {' '.join(ANYWHERE)}"
    )
    process = Process("bash", "-c", command, environment=ONE_TARGET)
    try:
        assert "process_max_fds 300.0" in get(process, "/metrics")[1]
    finally:
        process.end()


def test_a_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("--web.listen-address", f"127.0.0.1:{port}", **ONE_TARGET)

    assert f"--web.listen-address 127.0.0.1:{port}: " in line
    assert "in use" in line


def test_the_exporter_listens_on_several_addresses_and_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "exporter.sock"
    addresses = f"127.0.0.1:0,unix:{path}"
    with exporter(**ONE_TARGET, SMTPSTATUS_EXPORTER_WEB_LISTEN_ADDRESS=addresses) as process:
        process.says(f"address=unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert get(process, "/-/healthy")[0] == 200


def test_systemd_is_notified_of_readiness_reload_and_stop(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        with exporter(*ANYWHERE, **ONE_TARGET, NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            assert systemd.recv(256) == b"READY=1"
            address(process)
            process.send(signal.SIGHUP)
            assert systemd.recv(256).startswith(b"RELOADING=1")
            assert systemd.recv(256) == b"READY=1"
            process.end()
            assert systemd.recv(256) == b"STOPPING=1"


def test_the_web_configuration_protects_every_path_except_health(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    # The password is "test"; the cost is the lowest there is.
    web.write_text(
        "basic_auth_users:\n  prom: $2b$04$8ZpLSFxnTIl6T1MJkQNdCe6uW9IlYbdIOC4L0dS4oJ6Vr2S7bRsSa\n"
    )
    with exporter(*ANYWHERE, "--web.config.file", str(web), **ONE_TARGET) as process:
        assert get(process, "/metrics")[0] == 401
        assert get(process, "/-/healthy")[0] == get(process, "/-/ready")[0] == 200
