"""The slow suite: `make soak` in full, `make soak SOAK=short` in CI."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clock import WallClock


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a test does: everything, or a short form that exercises the same code."""

    full: bool

    def __call__(self, full: int, short: int) -> int:
        return full if self.full else short


@pytest.fixture(scope="session")
def scale() -> Scale:
    return Scale(full=os.environ.get("SOAK", "full") != "short")


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path / "clock")
