"""Start with a large fleet, and reload, compared with an earlier version."""

import time
from pathlib import Path
from statistics import median

from benchmarks import baseline
from benchmarks.bench import Bench
from benchmarks.fleet import Fleet, exporter
from benchmarks.ratio import Ratio, at_most
from benchmarks.scrapers import fetch


def measure(bench: Bench) -> list[Ratio]:
    tree = baseline.source(bench)
    file = baseline.configuration(bench, Fleet(9, bench.form.fleet))  # no server is queried
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for _ in range(bench.form.rounds):
        ours.append(_seconds(file))
        if tree:
            theirs.append(_seconds(file, tree))
    subject = f"{bench.form.fleet:,} targets"
    return [
        Ratio(
            subject,
            quantity,
            median(one[part] for one in ours),
            f"the same at {baseline.BASELINE}",
            median(one[part] for one in theirs),
            at_most(1 / 0.95),
        )
        for part, quantity in enumerate(("seconds to start", "seconds to reload"))
        if theirs
    ]


def _seconds(file: Path, tree: Path | None = None) -> tuple[float, float]:
    """Seconds until an exporter listens, and seconds of a reload."""
    began = time.perf_counter()
    with exporter(file, tree) as (_, web):
        start = time.perf_counter() - began
        fetch(web, "/-/reload", "POST")
        return start, fetch(web, "/-/reload", "POST").seconds
