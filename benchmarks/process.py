"""Programs under test, started as a user starts them, and their use of resources (proc(5))."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeVar

T = TypeVar("T")

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def until(observe: Callable[[], T | None], seconds: float = 60) -> T:
    """Polls until `observe` returns a true value. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not (found := observe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {found!r} after {seconds} s")
        time.sleep(0.002)
    return found


class Process:
    """A running program with its descendants."""

    def __init__(self, popen: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self.pid = popen.pid
        self._popen = popen
        self._output = output

    def says(self, pattern: str, seconds: float = 120) -> re.Match[str]:
        """Waits for output that matches. Raises `RuntimeError` with the output if the program ends first."""

        def look() -> re.Match[str] | None:
            ended = self._popen.poll() is not None
            text = self.output
            if not (found := re.search(pattern, text)) and ended:
                raise RuntimeError(f"{self._popen.args!r} ended: {text}")
            return found

        return until(look, seconds)

    def listens(self, port: int) -> None:
        """Waits until the port accepts connections. Raises `RuntimeError` with the output if the program ends first."""

        def look() -> bool:
            if self._popen.poll() is not None:
                raise RuntimeError(f"{self._popen.args!r} ended: {self.output}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
            return True

        until(look)

    @property
    def output(self) -> str:
        # pread: the program shares the file position.
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def cpu(self) -> float:
        """CPU seconds used by the program and its descendants, including ended ones."""
        return sum(map(_cpu, _family(self.pid)))

    def resident(self, peak: bool = False) -> float:
        """Resident memory in MiB, current or peak."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", text)
        return int(found[1]) / 1024 if found else 0.0

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def end(self) -> None:
        """Sends SIGTERM, and SIGKILL after 10 seconds."""
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()


@contextmanager
def running(
    arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Runs a program until the context ends."""
    with TemporaryFile() as output:
        popen = subprocess.Popen(
            arguments,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        process = Process(popen, output)
        try:
            yield process
        finally:
            process.end()


def udp_overflows() -> int:
    """Datagrams dropped by the system because of full receive buffers, of all programs."""
    names, numbers = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Udp:")
    )
    return int(dict(zip(names, numbers, strict=True))["RcvbufErrors"])


def _cpu(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0  # ended: its times are added to its parent's
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICK


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))
