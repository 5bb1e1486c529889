"""/metrics of a fleet: its cost compared with the bare datagrams, and its effect on other requests."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks import peers, probe
from benchmarks.bench import Bench
from benchmarks.fleet import FIRST, Fleet, exporter, own
from benchmarks.process import Process, udp_overflows
from benchmarks.ratio import Ratio, at_most
from benchmarks.scrapers import Page, Watch, fetch, watching

WINDOW = 4096
"""Unanswered datagrams of the floor program at a time: the responder's receive buffer holds them."""
LOST = 10
"""Requests per thousand that are lost on a bad network."""
TIMEOUT = 2.0
"""Default timeout of the exporter in seconds, less than the scraper's."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One scrape; `cpu` is the exporter's CPU time in seconds, including the requests of `watch`, if any."""

    page: Page
    cpu: float
    watch: Watch | None = None


def measure(bench: Bench) -> list[Ratio]:
    return [
        *_answering(bench),
        *_silent(bench, 2, "half"),
        *_silent(bench, 1, "all"),
        *_lossy(bench),
    ]


def _answering(bench: Bench) -> list[Ratio]:
    size = bench.form.fleet
    floors, scrapes, watched, probes = [], [], [], []
    with ExitStack() as stack:
        _, port = stack.enter_context(bench.native.responder())
        fleet = Fleet(port, size)
        fleet.write(bench.file("fleet.yml"))
        process, web = stack.enter_context(exporter(bench.file("fleet.yml")))
        first = scrape(process, web)
        rival = (
            stack.enter_context(peers.blackbox(bench.folder))
            if peers.installed(peers.BLACKBOX)
            else None
        )
        overflows = udp_overflows()
        for _ in range(bench.form.rounds):
            floors.append(
                bench.native.floor(str(FIRST), port, size * 4, targets=size, window=WINDOW)
            )
            scrapes.append(scrape(process, web))
            watched.append(scrape(process, web, watch=True))
            if rival:
                probes.append(probe.blackbox(bench, *rival, port).cpu)
        overflows = udp_overflows() - overflows
        last = fetch(web, "/metrics").text
        memory, floor_loss = process.resident(peak=True), sum(f.sent - f.received for f in floors)
    subject = f"/metrics, {size:,} targets"
    cpu = median(one.cpu for one in scrapes) / size * 1e6
    seconds = median(one.page.seconds for one in scrapes)
    lines = [
        Ratio(
            subject,
            "CPU per target, µs",
            cpu,
            "C, the datagrams alone",
            median(one.cpu for one in floors) / size * 1e6,
            at_most(2.5),
        ),
        Ratio(
            subject,
            "seconds",
            seconds,
            "C, the datagrams alone",
            median(one.seconds for one in floors),
        ),
        Ratio(subject, "seconds, the first", first.page.seconds, "the later ones", seconds),
        Ratio(subject, "memory at most, MiB", memory, "limit", 105, at_most(1)),
        *_manners(subject, fleet, [first, *scrapes, *watched], watched),
        Ratio(
            subject,
            "datagrams sent again",
            own(last, "datagrams_retransmitted_total"),
            "lost by the floor",
            floor_loss,
        ),
        Ratio(subject, "lost to full buffers", overflows, "limit", 0, at_most(1)),
    ]
    if probes:
        beside = "blackbox_exporter, DNS, a probe"
        lines.insert(
            1, Ratio(subject, "CPU per target, µs", cpu, beside, median(probes), at_most(1 / 8))
        )
    return lines


def _silent(bench: Bench, silent: int, share: str) -> list[Ratio]:
    """Silent targets; for `silent` see responder.c."""
    size = bench.form.fleet
    with bench.native.responder(silent) as (_, port):
        fleet = Fleet(port, size, silent)
        fleet.write(bench.file("silent.yml"))
        with exporter(bench.file("silent.yml")) as (process, web):
            scrapes = [scrape(process, web, watch=True) for _ in range(min(bench.form.rounds, 3))]
            memory = process.resident(peak=True)
    subject = f"the same, {share} silent"
    slowest = max(one.page.seconds for one in scrapes)
    return [
        Ratio(
            subject, "seconds at most", slowest, "deadline and 0.5 s", TIMEOUT + 0.5, at_most(1)
        ),
        *_manners(subject, fleet, scrapes, scrapes),
        Ratio(subject, "memory at most, MiB", memory, "limit", 200, at_most(1)),
    ]


def _lossy(bench: Bench) -> list[Ratio]:
    """One percent of the requests is lost at random and retransmitted; no target is down."""
    size, rounds = bench.form.fleet, min(bench.form.rounds, 3)
    with bench.native.responder(lost=LOST) as (_, port):
        fleet = Fleet(port, size)
        fleet.write(bench.file("lossy.yml"))
        with exporter(bench.file("lossy.yml")) as (process, web):
            scrapes = [scrape(process, web) for _ in range(rounds)]
            again = own(scrapes[-1].page.text, "datagrams_retransmitted_total")
    subject = "the same, 1 % of the requests lost"
    slowest = max(one.page.seconds for one in scrapes)
    wrong = sum(fleet.wrong(one.page.text) for one in scrapes)
    # The last page counts all scrapes except its own.
    lost = size * 4 * LOST / 1000 * max(rounds - 1, 1)
    return [
        Ratio(subject, "seconds at most", slowest, "timeout", TIMEOUT, at_most(1)),
        Ratio(subject, "samples wrong or missing", wrong, "limit", 0, at_most(1)),
        Ratio(subject, "datagrams sent again", again, "lost, expected", lost),
    ]


def _manners(
    subject: str, fleet: Fleet, scrapes: Sequence[Scrape], watched: Sequence[Scrape]
) -> list[Ratio]:
    """Whether every value is right, and other requests were served meanwhile."""
    wrong = sum(fleet.wrong(one.page.text) for one in scrapes)
    watches = [one.watch for one in watched if one.watch]
    slowest = median(max(watch.latencies) for watch in watches) * 1000
    descriptors = max(watch.descriptors for watch in watches)
    return [
        Ratio(subject, "samples wrong or missing", wrong, "limit", 0, at_most(1)),
        Ratio(subject, "slowest /-/healthy meanwhile, ms", slowest, "limit", 50, at_most(1)),
        Ratio(subject, "descriptors at most", descriptors, "limit", 200, at_most(1)),
    ]


def scrape(process: Process, web: int, watch: bool = False) -> Scrape:
    """Scrape /metrics once."""
    before = process.cpu()
    if not watch:
        page = fetch(web, "/metrics")
        return Scrape(page, process.cpu() - before)
    with watching(web, process) as seen:
        page = fetch(web, "/metrics")
    return Scrape(page, process.cpu() - before, seen)
