"""How a session's processes are found and signalled; test_transform.py does it with real ones."""

import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from reference_server import guard
from tests.support.processes import eventually


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Process numbers and signals that were sent; process 1 belongs to another user."""
    sent: list[tuple[int, int]] = []

    def kill(process: int, number: int) -> None:
        sent.append((process, number))
        if process == 1:
            raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    return sent


def searches(monkeypatch: pytest.MonkeyPatch, *found: Iterable[int]) -> list[Iterable[int]]:
    """What each search finds; returns those that were not made yet."""
    left = list(found)
    monkeypatch.setattr(guard, "_members", lambda session: left.pop(0))
    return left


def test_a_session_is_searched_after_sigkill_until_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, signalled: list[tuple[int, int]]
) -> None:
    left = searches(monkeypatch, [11, 12], [13], [1], [14])

    guard.kill_session(10, signal.SIGKILL)

    assert signalled == [(11, 9), (12, 9), (13, 9), (1, 9)]
    assert left == [[14]]


def test_a_session_that_forks_without_end_is_searched_ten_times(
    monkeypatch: pytest.MonkeyPatch, signalled: list[tuple[int, int]]
) -> None:
    searches(monkeypatch, *[[11]] * 20)

    guard.kill_session(10, signal.SIGKILL)

    assert len(signalled) == 10


def test_a_process_gets_sigterm_once(
    monkeypatch: pytest.MonkeyPatch, signalled: list[tuple[int, int]]
) -> None:
    left = searches(monkeypatch, [11], [11])

    guard.kill_session(10, signal.SIGTERM)

    assert (signalled, left) == ([(11, 15)], [[11]])


def test_a_guard_ignores_the_signals_that_end_the_server() -> None:
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    guarding = guard.Guard()
    process = guarding._process.pid
    session = subprocess.Popen(["sleep", "100"], start_new_session=True)

    def ignored() -> bool:
        status = Path(f"/proc/{process}/status").read_text()
        mask = int(status.split("SigIgn:")[1].split()[0], 16)
        return all(mask & 1 << (number - 1) for number in ending)

    try:
        assert eventually(ignored, seconds=5)
        for number in ending:
            os.kill(process, number)
        guarding.started(session.pid)
        guarding.close()
        assert session.wait(5) == -signal.SIGKILL
    finally:
        session.kill()
        session.wait()
