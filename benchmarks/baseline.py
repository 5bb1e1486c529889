"""The exporter of an earlier commit, as a peer."""

import subprocess
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.fleet import Fleet

BASELINE = "e140c29"
"""The commit before the client engine was rewritten."""


def source(bench: Bench) -> Path | None:
    """The source of the baseline, if the repository has that commit."""
    tree = bench.file("baseline")
    if tree.exists():
        return tree
    archive = subprocess.run(("git", "archive", BASELINE), capture_output=True, check=False)
    if archive.returncode:
        return None
    tree.mkdir()
    subprocess.run(("tar", "-x", "-C", tree), input=archive.stdout, check=True)
    return tree


def configuration(bench: Bench, fleet: Fleet, timeout: str = "2s") -> Path:
    """A configuration of a fleet that both versions read: the earlier one has no ports of a probe."""
    file = bench.file(f"baseline-{fleet.size}.yml")
    fleet.write(file, timeout)
    targets, _, _ = file.read_text().partition("probe:")
    file.write_text(targets)
    return file
