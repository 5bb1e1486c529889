import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from protocol.vocabulary import Command
from reference_server.sample_mail import ClientBehaviour, generate, pace
from tests.reference_server.server import running

TO_US = ("--domain", "example.com")


def traffic(*flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "reference_server.traffic", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def summary(text: str) -> dict[str, int]:
    """Number of each outcome, by code and meaning."""
    lines = re.findall(r"^ *(\d+)  (\S+ +.+)$", text, re.M)
    return {re.sub(r" +", " ", what): int(n) for n, what in lines}


async def test_accepted_messages_are_stored_and_each_is_a_connection(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as server:
        sending = traffic(f"127.0.0.1:{server.smtp}", "--rate", "500", "--count", "120", *TO_US)
        output, errors = sending.communicate(timeout=30)

        outcomes = summary(output)
        assert (sending.returncode, errors) == (0, "")
        assert await server.ask(Command.CONNECTIONS) == 120
        assert (
            len({m.partition(b"Message-ID: ")[2][:30] for m in server.stored()})
            == (outcomes["250 accepted"])
        )
        assert outcomes["250 accepted"] > 90


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_traffic_with_a_summary(number: signal.Signals, tmp_path: Path) -> None:
    with running(tmp_path) as server:
        sending = traffic(f"127.0.0.1:{server.smtp}", "--rate", "50", "--size", "100", *TO_US)
        deadline = time.monotonic() + 10
        while not server.stored() and time.monotonic() < deadline:
            pass
        sending.send_signal(number)
        output, errors = sending.communicate(timeout=5)

    assert (sending.returncode, errors) == (0, "")
    assert summary(output)["250 accepted"] > 0


def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with running(tmp_path) as server:
        sending = subprocess.Popen(
            [sys.executable, "-m", "reference_server.traffic", f"127.0.0.1:{server.smtp}", *TO_US,
             "--rate", "20", "--duration", "1s"],
            stdout=subprocess.DEVNULL, stderr=theirs,
        )  # fmt: skip
        assert sending.wait(10) == 0
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)

    assert re.search(r"\r\d+ accepted, \d+ other, \d+\.\d/s ", shown)


def test_an_unavailable_server_is_reported_once_and_retried(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.stop()
        sending = traffic(f"127.0.0.1:{server.smtp}", "--rate", "50", "--duration", "1500ms")
        output, errors = sending.communicate(timeout=10)

    assert errors.count("\n") == 1
    assert f"127.0.0.1:{server.smtp} does not answer: " in errors
    assert summary(output)["--- no reply"] >= 2


BAD = {
    "no address": (["--rate", "1"], "HOST:PORT; see --help"),
    "a bad address": (["nowhere"], "invalid address 'nowhere'"),
    "a bad rate": (["x:1", "--rate", "fast"], "--rate: invalid rate 'fast'"),
    "a bad duration": (["x:1", "--duration", "soon"], "--duration: invalid duration 'soon'"),
    "an unknown flag": (["x:1", "--speed", "5"], "unknown flag --speed"),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD)
def test_an_invalid_flag_is_one_line_and_exit_status_2(flags: list[str], message: str) -> None:
    sending = traffic(*flags)
    out, errors = sending.communicate(timeout=10)

    assert (sending.returncode, out, errors.count("\n")) == (2, "", 1)
    assert message in errors


def test_sample_messages_are_realistic() -> None:
    random = Random(5)
    messages = [generate(random, "example.com", number, 0) for number in range(2000)]

    sizes = sorted(len(message.octets) for message in messages)
    assert sizes[1000] < 6000
    assert sizes[-10] > 100_000
    behaviours = Counter(message.behaviour for message in messages)
    assert 1800 < behaviours[ClientBehaviour.CONFORMING] < 2000
    assert all(behaviours.values())
    assert 0 < sum("nobody@not-here.example" in message.recipients for message in messages) < 200
    for message in messages:
        assert b"\r\n\r\n" in message.octets
        assert message.octets.count(b"\n") == message.octets.count(b"\r\n") == message.octets.count(b"\r")  # fmt: skip


@pytest.mark.parametrize("size", [2, 100, 5000])
def test_a_sample_message_has_the_requested_size(size: int) -> None:
    message = generate(Random(1), "example.com", 1, 0, size)

    assert abs(len(message.octets.partition(b"\r\n\r\n")[2]) - size) <= 4


def test_sample_messages_arrive_at_the_requested_rate_in_waves() -> None:
    random, now, hours = Random(3), 0.0, Counter[int]()
    while now < 240:
        now += pace(50, now, random)
        hours[int(now // 60)] += 1

    assert 0.9 < sum(hours.values()) / (240 * 50) < 1.15
    assert hours[0] > 2 * hours[2]
