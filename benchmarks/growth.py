"""Growth: memory and time at several fleet sizes."""

import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from benchmarks.bench import Bench
from benchmarks.fleet import FIRST, Fleet, exporter
from benchmarks.ratio import Ratio, at_most
from benchmarks.scrape import WINDOW, scrape
from benchmarks.scrapers import fetch


@dataclass(frozen=True, slots=True)
class Size:
    """The cost of an exporter with `targets` targets; times in seconds, memory in MiB.

    `start` is the time until it listens, `first` the time from then to the end of the first scrape.
    """

    targets: int
    start: float
    first: float
    seconds: float
    cpu: float
    reload: float
    memory: float
    wrong: int
    """Wrong or missing samples in all scrapes."""
    floor: float
    """Seconds in which a C program sends and receives the same datagrams."""


def sizes(bench: Bench) -> list[Size]:
    """Measures every size of the profile, smallest first."""
    with bench.native.responder() as (_, port):
        return [_size(bench, Fleet(port, targets)) for targets in bench.form.growth]


def lines(measured: list[Size]) -> list[Ratio]:
    """Compares each size with the previous one, per target: linear growth has a ratio of at most 1."""
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
    first, last = measured[0], measured[-1]
    subject, slope = f"{last.targets:,} targets", (last.memory - first.memory) * 1024
    slope /= last.targets - first.targets
    return [
        *found,
        Ratio(subject, "seconds", last.seconds, "C, the datagrams alone", last.floor, at_most(3)),
        Ratio(subject, "memory per target, KiB", slope, "limit", 5, at_most(1)),
    ]


def _size(bench: Bench, fleet: Fleet) -> Size:
    file = bench.file(f"growth-{fleet.size}.yml")
    fleet.write(file, timeout="10s")  # the default of 2 s is too short for the largest fleets
    began = time.perf_counter()
    with exporter(file) as (process, web):
        start = time.perf_counter() - began
        first = scrape(process, web)
        # The system counts CPU time in units of 10 ms, so a small fleet is scraped more often.
        count = max(bench.form.rounds, bench.form.growth[-1] // fleet.size // 5)
        before = process.cpu()
        scrapes = [scrape(process, web) for _ in range(count)]
        cpu = (process.cpu() - before) / count
        memory = process.resident(peak=True)
        floors = [
            bench.native.floor(
                str(FIRST), fleet.port, fleet.size * 4, targets=fleet.size, window=WINDOW
            ).seconds
            for _ in range(min(bench.form.rounds, 3))
        ]
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
        median(floors),
    )
