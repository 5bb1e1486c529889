"""Status port of the reference server, compared with a responder in C, and mail during a flood of requests."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.mailers import Load, Mailer, reference_server, send
from benchmarks.native import FloodResult
from benchmarks.process import Process, udp_overflows
from benchmarks.ratio import Ratio, at_least, at_most

_HOST = "127.0.0.1"
_SUBJECT = "status port"
_PEER = "responder in C"
_NEVER = 1 << 40
"""Window larger than any flood, so that requests are sent regardless of responses."""


@dataclass(frozen=True, slots=True)
class Answering:
    """Result of a round: requests as fast as they are answered, then `offered` requests per second.

    `cpu` is in seconds, of the first; `overflows` are the datagrams of the second that full buffers cost.
    """

    paced: FloodResult
    cpu: float
    flooded: FloodResult
    overflows: int

    @property
    def unexplained(self) -> int:
        """Requests of the flood that were lost although the buffers had room for them and their responses."""
        return max(0, self.flooded.sent - self.flooded.received - self.overflows)


def measure(bench: Bench) -> list[Ratio]:
    ours, theirs, pace, flooded_pace = [], [], [], []
    has_load = peers.installed("smtp-source")
    with ExitStack() as stack:
        mailer, port = stack.enter_context(reference_server(bench.folder / "status"))
        rival, rival_port = stack.enter_context(bench.native.responder())
        for _ in range(bench.form.rounds):
            ours.append(_answering(bench, mailer.process, port))
            theirs.append(_answering(bench, rival, rival_port))
            if has_load:
                pace.append(send(mailer, _load(bench)).rate)
                flooded_pace.append(_pace_under_flood(bench, mailer, port))
    lines = _lines(bench, ours, theirs)
    if has_load:
        beside = "without the flood"
        lines.append(
            Ratio(
                f"mail, {bench.form.offered:,} requests a second",
                "messages per second",
                median(flooded_pace),
                beside,
                median(pace),
                at_least(0.75),
            )
        )
    return lines


def _answering(bench: Bench, process: Process, port: int) -> Answering:
    form, floor = bench.form, bench.native.floor
    before = process.cpu()
    paced = floor(_HOST, port, form.requests)
    cpu = process.cpu() - before
    overflows = udp_overflows()
    flooded = floor(_HOST, port, form.requests, window=_NEVER, rate=form.offered)
    return Answering(paced, cpu, flooded, udp_overflows() - overflows)


def _load(bench: Bench) -> Load:
    return Load(bench.form.sessions[-1], bench.form.messages, 1 << 10)


def _pace_under_flood(bench: Bench, mailer: Mailer, port: int) -> float:
    """Messages per second during a flood of requests that lasts longer than the mail."""
    form = bench.form
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(
            bench.native.floor,
            _HOST,
            port,
            form.requests * 2,
            window=_NEVER,
            rate=form.offered,
        )
        rate = send(mailer, _load(bench)).rate
        flood.result()
    return rate


def _lines(bench: Bench, ours: list[Answering], theirs: list[Answering]) -> list[Ratio]:
    requests = bench.form.requests
    rates = [median(a.paced.received / a.paced.seconds for a in side) for side in (ours, theirs)]
    cpus = [median(a.cpu for a in side) / requests * 1e6 for side in (ours, theirs)]
    shares = [median(a.flooded.received / a.flooded.sent for a in side) for side in (ours, theirs)]
    offered = f"share answered of {bench.form.offered:,} a second"
    lost = max(a.unexplained for a in ours)
    return [
        Ratio(_SUBJECT, "answers per second", rates[0], _PEER, rates[1], at_least(0.9)),
        Ratio(_SUBJECT, "CPU per answer, µs", cpus[0], _PEER, cpus[1]),
        Ratio(_SUBJECT, offered, shares[0], _PEER, shares[1]),
        Ratio(_SUBJECT, "lost beyond full buffers", lost, "limit", 0, at_most(1)),
    ]
