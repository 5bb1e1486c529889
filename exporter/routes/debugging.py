"""An exchange told to people, datagram by datagram. The tokens are masked before they come here."""

from collections.abc import Iterator
from textwrap import indent

from exporter.reading import TargetReading
from protocol.address import HostPort
from protocol.describe import as_text, describe_request, describe_response
from protocol.dialect import Dialect
from protocol.trace import Event

_WORDS = {"sent": "sent to", "accepted": "accepted, from", "discarded": "discarded, from"}


class EventRecorder:
    """The first events of an exchange; a flood beyond them is only counted."""

    def __init__(self, length: int = 200) -> None:
        self.events: list[Event] = []
        self.missed = 0
        self._length = length

    def __call__(self, event: Event) -> None:
        if len(self.events) < self._length:
            self.events.append(event)
        else:
            self.missed += 1


def debug_report(tape: EventRecorder, scrape: TargetReading) -> Iterator[str]:
    """What was asked, every datagram decoded, why it was ignored if it was, and what came of it all."""
    name = f"{scrape.target.name} at " if scrape.target else ""
    yield f"asking {name}{scrape.where}, dialect {scrape.dialect.name}\n\n"
    for event in tape.events:
        where = HostPort(event.address[0], event.address[1])
        yield f"{(event.at - tape.events[0].at) * 1000:9.3f} ms  {_headline(event, where)}\n"
        if event.kind != "unreachable":
            yield indent(_decoded(event, scrape.dialect), " " * 14) + "\n\n"
    if tape.missed:
        yield f"and {tape.missed} datagrams more\n\n"
    error, cost = scrape.reading.error, scrape.reading.cost
    yield f"down, {error.reason}: {error}\n" if error else "up: everything is answered\n"
    yield (
        f"{cost.datagrams_sent} datagrams sent, {cost.retransmissions} of them for want of an answer,"
        f" {sum(cost.discarded.values())} discarded, in {scrape.reading.seconds:.6f} s\n\n"
    )


def _headline(event: Event, where: HostPort) -> str:
    if event.kind == "unreachable":
        return f"the system says of {where}: {event.reason}\n"
    because = f", because of its {event.reason}" if event.reason else ""
    return f"{_WORDS[event.kind]} {where}{because}"


def _decoded(event: Event, dialect: Dialect) -> str:
    describe = describe_request if event.kind == "sent" else describe_response
    return as_text(describe(event.datagram, dialect))
