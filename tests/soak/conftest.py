"""The slow suite: `make soak` in full, `make soak SOAK=short` in CI."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clock import WallClock

_LONGEST = [Path(__file__).with_name(name) for name in ("test_endurance.py", "test_kill.py")]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a test does: everything, or a short form that exercises the same code."""

    full: bool

    def __call__(self, full: int, short: int) -> int:
        return full if self.full else short


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the longest tests first, one in each of the two processes of `make soak`."""
    items.sort(key=lambda item: item.path not in _LONGEST)


@pytest.fixture(scope="session")
def scale() -> Scale:
    return Scale(full=os.environ.get("SOAK", "full") != "short")


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path / "clock")
