"""Resource use of a running process, read from /proc."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory in MiB (resident and peak), open descriptors, threads, child processes, and CPU time in seconds."""

    resident_mib: float
    peak_mib: float
    descriptors: int
    threads: int
    children: int
    cpu_s: float


def usage(pid: int) -> Usage:
    """Raises `FileNotFoundError` if the process has ended."""
    folder = Path(f"/proc/{pid}")
    status = dict(
        line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
    )
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return Usage(
        resident_mib=_kib(status["VmRSS"]) * 1024 / _MIB,
        peak_mib=_kib(status["VmHWM"]) * 1024 / _MIB,
        descriptors=sum(1 for _ in (folder / "fd").iterdir()),
        threads=int(status["Threads"]),
        children=sum(_children(task) for task in (folder / "task").iterdir()),
        cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    )


def _children(task: Path) -> int:
    """The processes that a thread has started and not yet reaped; none if it has ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return len((task / "children").read_text().split())
    return 0


def _kib(text: str) -> int:
    return int(text.split()[0])
