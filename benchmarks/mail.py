"""Mail that is durable before 250, beside Postfix, which stores it likewise, and smtp-sink, which does not.

Nothing is deleted between rounds: ext4 finds a free inode several times more slowly after mass deletions.
"""

from collections import defaultdict
from contextlib import ExitStack
from statistics import median

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.line import Line, at_least, at_most
from benchmarks.mailers import Delivery, Load, Mailer, postfix, reference_server, send, smtp_sink

_LARGE = 1 << 20


def measure(bench: Bench) -> list[Line]:
    if not peers.installed("smtp-source", "smtp-sink", "postfix"):
        return []
    found: defaultdict[tuple[str, Load], list[Delivery]] = defaultdict(list)
    with ExitStack() as stack:
        ours, _ = stack.enter_context(reference_server(bench.folder))
        theirs = stack.enter_context(postfix(bench.folder))
        sink = stack.enter_context(smtp_sink())
        for _ in range(bench.form.rounds):
            for load in _loads(bench):
                for mailer in (ours, theirs, sink):
                    found[mailer.name, load].append(send(mailer, load))
        heavy = _heavy(bench)
        send(ours, heavy)
        memory = ours.process.resident(peak=True)
    lines = []
    for load in _loads(bench):
        own = _median(found[ours.name, load])
        lines += _beside(load, own, theirs, _median(found[theirs.name, load]))
        lines += _limit(load, own, sink, _median(found[sink.name, load]))
    lines.append(Line(str(heavy), "memory at most, MiB", memory, "limit", 300, at_most(1)))
    return lines


def _heavy(bench: Bench) -> Load:
    """As many large messages at once as there are ever sessions: what of them is in memory?"""
    sessions = bench.form.sessions[-1]
    return Load(sessions, sessions, 10 * _LARGE)


def _loads(bench: Bench) -> list[Load]:
    form = bench.form
    small = [Load(sessions, form.messages, 1 << 10) for sessions in form.sessions]
    return [*small, Load(min(10, form.sessions[-1]), form.large_messages, _LARGE)]


def _median(deliveries: list[Delivery]) -> Delivery:
    return Delivery(median(d.rate for d in deliveries), median(d.cpu for d in deliveries))


def _beside(load: Load, own: Delivery, peer: Mailer, other: Delivery) -> list[Line]:
    return [
        Line(str(load), "messages per second", own.rate, peer.name, other.rate, at_least(1)),
        Line(str(load), "CPU s per 1,000 messages", own.cpu, peer.name, other.cpu, at_most(1)),
    ]


def _limit(load: Load, own: Delivery, sink: Mailer, other: Delivery) -> list[Line]:
    twice = at_most(2) if load.size == _LARGE else None
    return [
        Line(str(load), "messages per second", own.rate, sink.name, other.rate),
        Line(str(load), "CPU s per 1,000 messages", own.cpu, sink.name, other.cpu, twice),
    ]
