"""A memory limit for a process and its children, as containers have it (cgroups v1 and v2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import eventually
from tests.support.real import missing

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A control group with a limit."""

    folder: Path

    @property
    def front(self) -> tuple[str, ...]:
        """The words before a command that run it in the group."""
        return "sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"

    @property
    def killed(self) -> int:
        """The number of processes that the kernel has killed at the limit."""
        name = "memory.oom_control" if self.folder.parent == _V1 else "memory.events"
        fields = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(fields["oom_kill"])


@contextmanager
def memory_limit(name: str, mib: int) -> Iterator[MemoryLimit]:
    """All processes of the group have to end when it is left; some take a moment longer than their parents."""
    version_1 = _V1.is_dir()
    folder = (_V1 if version_1 else _V2) / name
    try:
        folder.mkdir()
        limit = "memory.limit_in_bytes" if version_1 else "memory.max"
        (folder / limit).write_text(str(mib << 20))
    except OSError as error:
        missing(f"cannot make a control group: {error}")
    try:
        yield MemoryLimit(folder)
    finally:
        eventually(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()
