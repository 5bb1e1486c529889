"""Runs each fuzz target over the seeds of its corpus and their prefixes."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import HERE, TARGETS, target

SEEDS = [path for name in TARGETS for path in sorted((HERE / "corpus" / name).iterdir())]


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_seed_and_its_prefixes_pass(seed: Path) -> None:
    examine = target(seed.parent.name)
    data = seed.read_bytes()

    for end in range(0, len(data) + 1, max(1, len(data) // 20)):
        examine(data[:end])
    examine(data + data)
