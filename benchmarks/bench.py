"""What every measurement gets."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.native import Native
from benchmarks.profile import Profile


@dataclass(frozen=True, slots=True)
class Bench:
    """How much to measure, a folder for what is written meanwhile, and the C programs."""

    form: Profile
    folder: Path
    native: Native

    def file(self, name: str) -> Path:
        return self.folder / name
