"""The report of /probe?debug=true: every datagram of a reading, decoded. Tokens are already masked."""

from collections.abc import Iterator
from textwrap import indent

from exporter.reading import TargetReading
from protocol.address import HostPort
from protocol.describe import as_text, describe_request, describe_response
from protocol.dialect import Dialect
from protocol.trace import Event

_WORDS = {"sent": "sent to", "accepted": "accepted, from", "discarded": "discarded, from"}


class EventRecorder:
    """Records the first events of a reading, and counts the others."""

    def __init__(self, length: int = 200) -> None:
        self.events: list[Event] = []
        self.missed = 0
        self._length = length

    def __call__(self, event: Event) -> None:
        if len(self.events) < self._length:
            self.events.append(event)
        else:
            self.missed += 1


def debug_report(recorder: EventRecorder, found: TargetReading) -> Iterator[str]:
    """The target, every datagram decoded, why it was discarded if it was, and the outcome."""
    name = f"{found.target.name} at " if found.target else ""
    yield f"reading {name}{found.where}, dialect {found.dialect.name}\n\n"
    for event in recorder.events:
        where = HostPort(event.address[0], event.address[1])
        yield f"{(event.at - recorder.events[0].at) * 1000:9.3f} ms  {_headline(event, where)}\n"
        if event.kind != "unreachable":
            yield indent(_decoded(event, found.dialect), " " * 14) + "\n\n"
    if recorder.missed:
        yield f"and {recorder.missed} more datagrams\n\n"
    error, cost = found.reading.error, found.reading.cost
    yield f"down, {error.reason}: {error}\n" if error else "up: every request was answered\n"
    yield (
        f"{cost.datagrams_sent} datagrams sent, {cost.retransmissions} of them retransmissions,"
        f" {sum(cost.discarded.values())} discarded, in {found.reading.seconds:.6f} s\n\n"
    )


def _headline(event: Event, where: HostPort) -> str:
    if event.kind == "unreachable":
        return f"the system reports for {where}: {event.reason}\n"
    because = f" (wrong {event.reason})" if event.reason else ""
    return f"{_WORDS[event.kind]} {where}{because}"


def _decoded(event: Event, dialect: Dialect) -> str:
    describe = describe_request if event.kind == "sent" else describe_response
    return as_text(describe(event.datagram, dialect))
