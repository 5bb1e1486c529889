"""The C programs beside this file, compiled for a run."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Process, running


@dataclass(frozen=True, slots=True)
class FloodResult:
    """What became of the datagrams that floor.c sent; `cpu` is in seconds, of this program alone."""

    sent: int
    received: int
    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Native:
    """The folder with the compiled programs."""

    folder: Path

    @contextmanager
    def responder(self, silent: int = 0) -> Iterator[tuple[Process, int]]:
        """A fleet that answers on every loopback address, and its port; see responder.c for `silent`."""
        with running((self.folder / "responder", "0", str(silent))) as process:
            yield process, int(process.says(r"port (\d+)")[1])

    @property
    def backlog(self) -> Path:
        """To be preloaded; see backlog.so.c."""
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
        """Send datagrams and count what comes back; see floor.c."""
        numbers = map(str, (port, targets, requests, window, rate))
        command = [str(self.folder / "floor"), address, *numbers]
        done = subprocess.run(command, check=True, capture_output=True, timeout=120)
        return FloodResult(**json.loads(done.stdout))


def compiled(folder: Path) -> Native:
    """Compile all into `folder`. Raises `CalledProcessError`, `FileNotFoundError` without a compiler."""
    for source in Path(__file__).parent.glob("*.c"):
        shared = ("-shared", "-fPIC") if source.stem.endswith(".so") else ()
        subprocess.run(("cc", "-O2", *shared, "-o", folder / source.stem, source), check=True)
    return Native(folder)
