"""A wall clock that is stepped while processes run; their monotonic clocks stay true (libfaketime)."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.real import missing, require

STEPS = (86_400, -86_400, 0, 3_600, 0, -3_600)
"""Seconds from the true time, in this order: steps of up to two days, both ways."""

SLACK_S = 15.0
"""How much later than its deadline an operation may end on a busy machine; much less than any step."""


class WallClock:
    """The clock of all processes that were started with its `environment`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set("+0")

    @property
    def environment(self) -> Mapping[str, str]:
        require("faketime")
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            missing("libfaketime is not installed")
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, time: str) -> None:
        """Sets the clock: `+SECONDS` or `-SECONDS` from the true time, or a time at which it stands still."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{time}\n")
        new.replace(self._file)

    def step(self, seconds: int) -> None:
        self.set(f"{seconds:+}")


def closes_after(opened: socket.socket) -> tuple[float, bytes]:
    """Waits for the server to close; returns the seconds, and what it sent."""
    began, received = time.monotonic(), b""
    with suppress(ConnectionResetError):
        while octets := opened.recv(4096):
            received += octets
    return time.monotonic() - began, received
