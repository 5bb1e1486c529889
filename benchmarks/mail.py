"""Durable delivery, compared with servers that store mail durably and with servers that discard it.

Nothing is deleted between rounds: after mass deletions, ext4 takes several times longer to find a free inode.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.mailers import (
    Delivery,
    Load,
    Mailer,
    aiosmtpd,
    opensmtpd,
    postfix,
    reference_server,
    send,
    smtp_sink,
)
from benchmarks.ratio import Bound, Ratio, at_least, at_most

_LARGE = 1 << 20


def measure(bench: Bench) -> list[Ratio]:
    if not peers.installed("smtp-source", "smtp-sink", "postfix"):
        return []
    found: defaultdict[tuple[str, Load], list[Delivery]] = defaultdict(list)
    with ExitStack() as stack:
        ours, _ = stack.enter_context(reference_server(bench.folder))
        durable = [stack.enter_context(postfix(bench.folder))]
        if peers.installed("smtpd", "unshare"):
            durable.append(stack.enter_context(opensmtpd(bench.folder, bench.native.backlog)))
        sink = stack.enter_context(smtp_sink())
        bare = [stack.enter_context(aiosmtpd(where)) for where in (None, bench.folder)]
        for _ in range(bench.form.rounds):
            for load in _loads(bench):
                for mailer in (ours, *durable, sink, *bare):
                    found[mailer.name, load].append(send(mailer, load))
                    if load.size == _LARGE:
                        mailer.empty()
        heavy = _heavy(bench)
        send(ours, heavy)
        memory = ours.process.resident(peak=True)
    lines = []
    for load in _loads(bench):
        for peer in (*durable, sink, *bare):
            bounds = _bounds(load, peer, durable, sink)
            own, other = _median(found[ours.name, load]), _median(found[peer.name, load])
            lines += _beside(load, own, peer, other, *bounds)
    lines.append(Ratio(str(heavy), "peak memory, MiB", memory, "limit", 300, at_most(1)))
    return lines


def _heavy(bench: Bench) -> Load:
    """Memory use with one large message per session."""
    sessions = bench.form.sessions[-1]
    return Load(sessions, sessions, 10 * _LARGE)


def _loads(bench: Bench) -> Iterator[Load]:
    form = bench.form
    for size, messages in ((1 << 10, form.messages), (_LARGE, form.large_messages)):
        for sessions in form.sessions:
            yield Load(sessions, messages, size)


def _median(deliveries: list[Delivery]) -> Delivery:
    return Delivery(median(d.rate for d in deliveries), median(d.cpu for d in deliveries))


def _bounds(
    load: Load, peer: Mailer, durable: list[Mailer], sink: Mailer
) -> tuple[Bound | None, Bound | None]:
    """Returns the bounds of the rate and of the CPU time."""
    if peer in durable:
        return at_least(1), at_most(1)
    return None, at_most(2) if peer is sink and load.size == _LARGE else None


def _beside(
    load: Load, own: Delivery, peer: Mailer, other: Delivery, rate: Bound | None, cpu: Bound | None
) -> list[Ratio]:
    return [
        Ratio(str(load), "messages per second", own.rate, peer.name, other.rate, rate),
        Ratio(str(load), "CPU s per 1,000 messages", own.cpu, peer.name, other.cpu, cpu),
    ]
