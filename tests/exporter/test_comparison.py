"""docs/comparison.md names tests: each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/comparison.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))

    assert named <= there
    assert len(named) >= 40


def test_every_cell_is_shown_unless_the_feature_is_missing() -> None:
    rows = [line.split("|")[1:-1] for line in DOCUMENT.splitlines() if line.startswith("| ")]

    for row in rows:
        feature, ours, shown = row[0].strip(), row[-2].strip(), row[-1].strip()
        assert (ours == "—") is (shown == ""), feature
        assert len(row) == 9, feature
