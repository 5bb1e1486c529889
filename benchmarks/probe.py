"""/probe of one target by simultaneous scrapers, compared with blackbox_exporter and snmp_exporter."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks import baseline, peers
from benchmarks.bench import Bench
from benchmarks.fleet import Fleet, exporter, failures
from benchmarks.process import Process
from benchmarks.ratio import Ratio, at_least, at_most
from benchmarks.scrapers import fetch, probe_rate


@dataclass(frozen=True, slots=True)
class Throughput:
    """Probes per second, and microseconds of CPU for each."""

    rate: float
    cpu: float


def measure(bench: Bench) -> list[Ratio]:
    same, several, dns, tcp, snmp = [], [], [], [], []
    same_before: list[Throughput] = []
    several_before: list[Throughput] = []
    with ExitStack() as stack:
        _, port = stack.enter_context(bench.native.responder())
        fleet = Fleet(port, bench.form.scrapers * 4)
        fleet.write(bench.file("probe.yml"))
        process, web = stack.enter_context(exporter(bench.file("probe.yml")))
        paths = [f"/probe?target=mail-{address}" for address in fleet.addresses()]
        if "smtpstatus_up 1" not in fetch(web, paths[0]).text:
            raise RuntimeError(f"{paths[0]} does not answer")
        before = None
        if tree := baseline.source(bench):
            file = baseline.configuration(bench, fleet)
            before = stack.enter_context(exporter(file, tree))
        box = agent = None
        if peers.installed(peers.BLACKBOX):
            box = stack.enter_context(peers.blackbox(bench.folder))
        if peers.installed(peers.SNMP, "snmpd"):
            agent = stack.enter_context(peers.snmp(bench.folder))
        for _ in range(bench.form.rounds):
            same.append(_pace(bench, process, web, paths[:1]))
            several.append(_pace(bench, process, web, paths))
            if before:
                same_before.append(_pace(bench, *before, paths[:1]))
                several_before.append(_pace(bench, *before, paths))
            if box:
                dns.append(blackbox(bench, *box, port))
                tcp.append(blackbox(bench, *box, web, "tcp"))
            if agent:
                snmp.append(_snmp(bench, *agent))
        failed = failures(fetch(web, "/metrics").text)
    boxes = ("blackbox_exporter, DNS over UDP", dns), ("blackbox_exporter, TCP", tcp)
    lines = [
        Ratio(
            subject,
            "probes per second",
            median(one.rate for one in ours),
            f"the same at {baseline.BASELINE}",
            median(one.rate for one in theirs),
            at_least(0.95),
        )
        for subject, ours, theirs in (
            ("/probe of one target", same, same_before),
            (f"/probe of {len(paths)} in turn", several, several_before),
        )
        if theirs
    ]
    for subject, ours, wanted in (
        ("/probe of one target", same, True),
        (f"/probe of {len(paths)} in turn", several, False),
    ):
        for peer, theirs in boxes:
            lines += _beside(subject, peer, ours, theirs, wanted)
        lines += _beside(subject, "snmp_exporter and snmpd", ours, snmp, False)
    return [*lines, Ratio("/probe", "probes that failed", failed, "limit", 0, at_most(1))]


def blackbox(
    bench: Bench, process: Process, web: int, port: int, module: str = "dns"
) -> Throughput:
    """Throughput of blackbox_exporter, with one request per probe."""
    path = f"/probe?module={module}&target=127.0.0.1:{port}"
    if "probe_success 1" not in fetch(web, path).text:
        raise RuntimeError(f"{path} does not succeed")
    return _pace(bench, process, web, [path])


def _snmp(bench: Bench, process: Process, web: int, port: int) -> Throughput:
    path = f"/snmp?module=four&target=127.0.0.1:{port}"
    if "\nsysUpTime " not in fetch(web, path).text:
        raise RuntimeError(f"{path} does not succeed")
    return _pace(bench, process, web, [path])


def _pace(bench: Bench, process: Process, web: int, paths: Sequence[str]) -> Throughput:
    form = bench.form
    before = process.cpu()
    rate = probe_rate(web, paths, form.scrapers, form.probes)
    return Throughput(rate, (process.cpu() - before) / form.probes * 1e6)


def _beside(
    subject: str, peer: str, ours: list[Throughput], theirs: list[Throughput], bounded: bool
) -> list[Ratio]:
    if not theirs:
        return []
    rates = median(one.rate for one in ours), median(one.rate for one in theirs)
    cpus = median(one.cpu for one in ours), median(one.cpu for one in theirs)
    faster, cheaper = (at_least(2), at_most(0.5)) if bounded else (None, None)
    return [
        Ratio(subject, "probes per second", rates[0], peer, rates[1], faster),
        Ratio(subject, "CPU per probe, µs", cpus[0], peer, cpus[1], cheaper),
    ]
