"""The context of a measurement."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.native import Native
from benchmarks.profile import Profile


@dataclass(frozen=True, slots=True)
class Bench:
    """The sizes of the run, a temporary folder, and the compiled C programs."""

    form: Profile
    folder: Path
    native: Native

    def file(self, name: str) -> Path:
        return self.folder / name
