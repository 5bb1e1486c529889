"""Kills the processes that a transform leaves in its session, even after the server itself was killed.

A program runs as a session of its own (setsid(2)). Its process group is not enough: timeout(1) and a shell's `set -m`
make groups of their own. A session is found in /proc, which takes milliseconds, so it is only searched where something
is left. A server that is killed cannot do that itself: a guard process, which notices by the end of a pipe, does.
This file runs alone as that process, and imports nothing but the standard library.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

_ROUNDS = 10
"""Searches for processes of a session; a fork during one is found by the next."""


def kill_session(session: int, number: signal.Signals) -> None:
    """Send a signal to every process of a session. Those that belong to another user are out of reach."""
    for _ in range(_ROUNDS):
        signalled = sum(_signalled(process, number) for process in _members(session))
        if not signalled or number != signal.SIGKILL:
            return


def _signalled(process: int, number: signal.Signals) -> bool:
    try:
        os.kill(process, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _members(session: int) -> Iterator[int]:
    """The processes of a session that have not ended."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # "PID (COMMAND) STATE PPID PGRP SESSION ...", where COMMAND may contain anything
                state, _, _, of, *_ = file.read().rpartition(b")")[2].split()
        except (OSError, ValueError):
            continue
        if int(of) == session and state not in (b"Z", b"X"):
            yield int(name)


class Guard:
    """The guard process of a server: it gets the number of each session, and kills them when the server has ended."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )

    def started(self, session: int) -> None:
        self._send(f"+{session}\n")

    def ended(self, session: int) -> None:
        self._send(f"-{session}\n")

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin
        with suppress(OSError):  # a guard that was killed guards no longer; mail goes on
            self._process.stdin.write(line.encode())


def main() -> None:
    """Read sessions from stdin until the server closes it or has ended; then kill those that have not ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        session = int(line[1:])
        (sessions.add if line[0] == "+" else sessions.discard)(session)
    for session in sessions:
        kill_session(session, signal.SIGKILL)


if __name__ == "__main__":
    main()
