"""What the next targets cost: memory and time at several sizes of a fleet."""

import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from benchmarks.bench import Bench
from benchmarks.fleet import Fleet, exporter
from benchmarks.ratio import Ratio, at_most
from benchmarks.scrape import scrape
from benchmarks.scrapers import fetch


@dataclass(frozen=True, slots=True)
class Size:
    """What an exporter with so many targets takes; times in seconds, memory in MiB.

    `start` is from the command to its listening, `first` from there to the end of the first scrape.
    """

    targets: int
    start: float
    first: float
    seconds: float
    cpu: float
    reload: float
    memory: float
    wrong: int
    """Samples wrong or missing, in all scrapes."""


def sizes(bench: Bench) -> list[Size]:
    """Every size of the form, the smallest first."""
    with bench.native.responder() as (_, port):
        return [_size(bench, Fleet(port, targets)) for targets in bench.form.growth]


def lines(measured: list[Size]) -> list[Ratio]:
    """Each size beside the one before it, per target: where growth is linear, the ratio is 1 or less."""
    found = []
    for smaller, larger in pairwise(measured):
        subject, beside = f"{larger.targets:,} targets", f"{smaller.targets:,} targets"
        for quantity, ours, theirs in (
            ("CPU of a scrape per target, µs", larger.cpu, smaller.cpu),
            ("seconds of a scrape per target, µs", larger.seconds, smaller.seconds),
            ("start per target, µs", larger.start, smaller.start),
            ("reload per target, µs", larger.reload, smaller.reload),
        ):
            found.append(
                Ratio(
                    subject,
                    quantity,
                    ours / larger.targets * 1e6,
                    beside,
                    theirs / smaller.targets * 1e6,
                    at_most(1.25),
                )
            )
        added = (larger.memory - smaller.memory) / (larger.targets - smaller.targets) * 1024
        found.append(
            Ratio(subject, "samples wrong or missing", larger.wrong, "limit", 0, at_most(1))
        )
        found.append(
            Ratio(subject, "memory per added target, KiB", added, "limit", 20, at_most(1))
        )
    return found


def _size(bench: Bench, fleet: Fleet) -> Size:
    file = bench.file(f"growth-{fleet.size}.yml")
    fleet.write(file, timeout="10s")  # the default is for as many as can be asked in two seconds
    began = time.perf_counter()
    with exporter(file) as (process, web):
        start = time.perf_counter() - began
        first = scrape(process, web)
        # The system counts CPU in hundredths of a second: a small fleet is scraped often enough to see some.
        count = max(bench.form.rounds, bench.form.growth[-1] // fleet.size // 5)
        before = process.cpu()
        scrapes = [scrape(process, web) for _ in range(count)]
        cpu = (process.cpu() - before) / count
        memory = process.resident(peak=True)
        reload = fetch(web, "/-/reload", "POST").seconds
    return Size(
        fleet.size,
        start,
        first.page.seconds,
        median(one.page.seconds for one in scrapes),
        cpu,
        reload,
        memory,
        sum(fleet.wrong(one.page.text) for one in (first, *scrapes)),
    )
