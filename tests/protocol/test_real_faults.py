"""Real faults of the kernel, the resolver and name servers, in network namespaces."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.real import missing, require

ROOT = Path(__file__).parents[2]


def in_namespace(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in new namespaces whose only name server is 127.0.0.1."""
    require("ip")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    setup = (
        f"ip link set lo up && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
        " && mount -t tmpfs none /run && mkdir /run/netns"
    )
    unshare = [require("unshare"), "--net", "--mount", "sh", "-c"]
    if subprocess.run([*unshare, setup], capture_output=True, check=False).returncode:
        missing("namespaces are not available")
    return subprocess.run(
        [*unshare, f'{setup} && exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def scenario(name: str, tmp_path: Path) -> dict[str, object]:
    ran = in_namespace(tmp_path, sys.executable, "-m", "tests.support.faults", name)
    assert ran.returncode == 0, ran.stderr
    outcome: dict[str, object] = json.loads(ran.stdout)
    return outcome


def test_datagrams_that_the_local_interface_refuses_are_sent_again(tmp_path: Path) -> None:
    require("tc")

    assert scenario("full-queue", tmp_path)["up"] == 200


def test_readings_succeed_over_a_network_that_is_down_half_of_the_time(tmp_path: Path) -> None:
    assert scenario("outage", tmp_path)["errors"] == []


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("forged-port-unreachable", "up"),
        ("short-port-unreachable", "up"),
        ("host-unreachable", "up"),
        ("real-port-unreachable", "Connection refused"),
    ],
)
def test_only_a_port_unreachable_that_quotes_our_request_ends_a_query(
    name: str, outcome: str, tmp_path: Path
) -> None:
    found = scenario(name, tmp_path)

    assert (found["alone"], found["together"]) == (outcome, outcome)


def test_writes_and_readings_of_a_name_use_one_server(tmp_path: Path) -> None:
    found = scenario("rotating-name", tmp_path)

    assert found["seen"] in ([1] * 10, [2] * 10)
    assert found["asked"] == 1


def test_silent_name_servers_affect_no_other_target(tmp_path: Path) -> None:
    assert scenario("silent-zone", tmp_path)["up"] == [20, 20, 20]


def test_a_server_that_answers_late_on_one_of_two_addresses_is_up(tmp_path: Path) -> None:
    found = scenario("two-families", tmp_path)

    assert (found["outcome"], found["server"]) == ("up", "::1")


def test_responses_received_while_the_program_was_stopped_are_accepted(tmp_path: Path) -> None:
    assert scenario("stopped", tmp_path)["outcome"] == "up"


def test_a_target_is_not_down_because_this_program_was_stopped(tmp_path: Path) -> None:
    assert "Shortage" in str(scenario("stopped-unanswered", tmp_path)["error"])


def test_the_command_ends_although_a_look_up_hangs(tmp_path: Path) -> None:
    arguments = ("--token", "secretpa", "--timeout", "300ms", "get", "mail.example")
    began = time.monotonic()
    # A name server that never answers: the socket is bound, but never read.
    code = (
        "import socket, runpy, sys; s = socket.socket(type=socket.SOCK_DGRAM);"
        " s.bind(('127.0.0.1', 53)); sys.argv[0] = 'smtpstatus';"
        " runpy.run_module('protocol', run_name='__main__')"
    )
    ran = in_namespace(tmp_path, sys.executable, "-c", code, *arguments)

    assert ran.returncode == 3
    assert "timed out" in ran.stderr
    assert time.monotonic() - began < 4


def test_the_exporter_stops_although_a_look_up_hangs(tmp_path: Path) -> None:
    config = tmp_path / "exporter.yml"
    config.write_text("targets: [{name: mail, address: 'mail.example:7030', token: secretpa}]\n")
    script = f"""
import signal, socket, subprocess, sys, time, urllib.request
silent = socket.socket(type=socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
process = subprocess.Popen(
    [sys.executable, "-m", "exporter", "--config.file={config}", "--web.listen-address=127.0.0.1:17030"],
    stderr=subprocess.PIPE, text=True)
while "Listening" not in process.stderr.readline():
    pass
print(urllib.request.urlopen("http://127.0.0.1:17030/metrics").read().decode())
process.send_signal(signal.SIGTERM)
began = time.monotonic()
print("exit status", process.wait(20), "after", time.monotonic() - began)
"""
    ran = in_namespace(tmp_path, sys.executable, "-c", script)

    assert ran.returncode == 0, ran.stderr
    assert 'smtpstatus_scrape_error{reason="name",target="mail"} 1.0' in ran.stdout
    *_, after = ran.stdout.split()
    assert "exit status 0" in ran.stdout
    assert float(after) < 3
