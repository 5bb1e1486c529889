"""`make run` and the commands that the README lists for it; its end leaves no process and no file."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import COMMANDS, Process, eventually

ROOT = Path(__file__).parents[2]
PORTS = (2525, 17030)


@pytest.fixture(scope="module")
def demo() -> Iterator[Process]:
    process = Process(sys.executable, str(ROOT / "deploy/demo.py"))
    try:
        process.says("Ctrl-C stops everything")
        yield process
    finally:
        process.end(signal.SIGKILL if process.ended else signal.SIGTERM)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def readme_lines() -> list[str]:
    """Shell commands of the README that are for use with `make run`."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if "127.0.0.1" in line]


@pytest.mark.parametrize("line", readme_lines())
def test_a_line_of_the_readme_works(demo: Process, line: str) -> None:
    line = line.replace("curl ", "curl -fsS ").replace(".venv-run/bin", str(COMMANDS))
    typed = subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (typed.returncode, typed.stderr) == (0, ""), typed.stdout


def test_mail_increases_the_counters(demo: Process) -> None:
    def transferred() -> float:
        typed = subprocess.run(
            ["curl", "-fsS", "http://127.0.0.1:17030/metrics"],
            capture_output=True,
            text=True,
            check=True,
        )
        (line,) = re.findall(r"^smtpstatus_transferred_bytes_total.* (.*)$", typed.stdout, re.M)
        return float(line)

    before = transferred()

    eventually(lambda: transferred() > before)


def test_metrics_match_the_sample_in_the_readme(demo: Process) -> None:
    shown = re.findall(r"^(smtpstatus_\w+\{.*\}) [0-9.]+$", (ROOT / "README.md").read_text(), re.M)
    scraped = subprocess.run(
        ["curl", "-fsS", "http://127.0.0.1:17030/metrics"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert len(shown) >= 5
    exposed = {line.rpartition(" ")[0] for line in scraped.stdout.splitlines()}
    assert [series for series in shown if series not in exposed] == []


def children(process: Process) -> list[int]:
    """Process identifiers of the demonstration's children."""
    listed = subprocess.run(
        ["pgrep", "--parent", str(process.pid)], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in listed.stdout.split()]


def test_ctrl_c_ends_everything_within_two_seconds(demo: Process) -> None:
    started = time.monotonic()

    assert demo.end(signal.SIGINT) == 0

    assert time.monotonic() - started < 2
    assert not any(is_open(port) for port in PORTS)


def test_a_port_in_use_is_reported_in_one_line_and_nothing_is_left_running() -> None:
    with socket.create_server(("127.0.0.1", PORTS[0])):
        process = Process(sys.executable, str(ROOT / "deploy/demo.py"))

        assert process.wait() == 2

    assert re.fullmatch(r" *server \| .*cannot listen on 127\.0\.0\.1:2525.*", process.lines[-1])
    assert "Traceback" not in process.output


def test_a_killed_demonstration_leaves_no_process(tmp_path: Path) -> None:
    process = Process(
        sys.executable, str(ROOT / "deploy/demo.py"), environment={"TMPDIR": str(tmp_path)}
    )
    process.says("Ctrl-C stops everything")
    started = children(process)

    process.end(signal.SIGKILL)

    assert len(started) == 4
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


def test_the_demonstrations_mail_is_removed_when_it_ends() -> None:
    process = Process(sys.executable, str(ROOT / "deploy/demo.py"))
    mail = Path(process.says(r"mail +(/\S+)")[1])
    assert mail.is_dir()

    assert process.end(signal.SIGTERM) == 0, process.output

    assert not mail.exists()


def test_a_part_that_does_not_end_is_killed_and_the_others_are_ended() -> None:
    process = Process(sys.executable, str(ROOT / "deploy/demo.py"))
    mail = Path(process.says(r"mail +(/\S+)")[1])
    _, exporter, *_ = started = children(process)
    os.kill(exporter, signal.SIGSTOP)

    assert process.end(signal.SIGTERM) == 0, process.output

    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert not mail.exists()
