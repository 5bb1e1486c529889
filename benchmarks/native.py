"""The C programs in this folder, compiled for a run."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Process, running


@dataclass(frozen=True, slots=True)
class FloodResult:
    """The result of floor.c; `seconds` is wall time, `cpu` its own CPU time in seconds."""

    sent: int
    received: int
    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Native:
    """The folder with the compiled programs."""

    folder: Path

    @contextmanager
    def responder(self, silent: int = 0, lost: int = 0) -> Iterator[tuple[Process, int]]:
        """Runs a fleet on every loopback address; yields it and its port. See responder.c for the arguments."""
        with running((self.folder / "responder", "0", str(silent), str(lost))) as process:
            yield process, int(process.says(r"port (\d+)")[1])

    @property
    def backlog(self) -> Path:
        """A library to preload; see backlog.so.c."""
        return self.folder / "backlog.so"

    def floor(
        self,
        address: str,
        port: int,
        requests: int,
        *,
        targets: int = 1,
        window: int = 64,
        rate: int = 0,
    ) -> FloodResult:
        """Sends datagrams and counts the responses; see floor.c."""
        numbers = map(str, (port, targets, requests, window, rate))
        command = [str(self.folder / "floor"), address, *numbers]
        done = subprocess.run(command, check=True, capture_output=True, timeout=120)
        return FloodResult(**json.loads(done.stdout))


def compiled(folder: Path) -> Native:
    """Compiles the programs into `folder`. Raises `CalledProcessError`, or `FileNotFoundError` without a compiler."""
    for source in Path(__file__).parent.glob("*.c"):
        shared = ("-shared", "-fPIC") if source.stem.endswith(".so") else ()
        subprocess.run(("cc", "-O2", *shared, "-o", folder / source.stem, source), check=True)
    return Native(folder)
