"""One test of a server, as a value: the datagrams to send, and the expected responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from protocol.conformance.expectation import Expectation
from protocol.dialect import Dialect
from protocol.message import Value
from protocol.plausibility import doubt
from protocol.vocabulary import Command


class Mode(Enum):
    """How the datagrams of a case are sent."""

    SEQUENTIAL = "one after the other"
    CONCURRENT = "all simultaneously"
    ECHO = "the first, then each response back to the server"


@dataclass(frozen=True, slots=True)
class Step:
    """One datagram, and its expected response."""

    sent: bytes
    expected: Expectation


class Requirement(Enum):
    """A condition on the values that a case reads, in the order of its steps."""

    NONE = "none"
    GROWING = "no counter decreases"
    ORDERED = "the first value does not exceed the second"
    PLAUSIBLE = "the numbers do not look like those of another dialect"


@dataclass(frozen=True, slots=True)
class Case:
    """One test: its title, which states the expected behaviour, and its clause of docs/protocol.md."""

    name: str
    clause: str
    steps: tuple[Step, ...]
    mode: Mode = Mode.SEQUENTIAL
    requirement: Requirement = Requirement.NONE
    once: bool = False
    """Whether a second response to a datagram is a failure."""
    writes: bool = False
    """Whether it sends commands that write; the runner restores the state."""


def violation(
    requirement: Requirement, read: Sequence[tuple[Command, Value]], dialect: Dialect
) -> str | None:
    """How the values that a case has read violate its requirement, or None."""
    if requirement is Requirement.GROWING:
        last: dict[Command, Value] = {}
        for command, value in read:
            if value < last.get(command, 0):
                return f"{command.value} decreased from {last[command]} to {value}"
            last[command] = value
    if requirement is Requirement.ORDERED and len(read) == 2:
        (_, active), (_, total) = read
        if active > total:
            return f"{active} active connections of {total} in total"
    if requirement is Requirement.PLAUSIBLE:
        # That active connections exceed the total is another case's failure.
        return doubt({c: v for c, v in read if c is not Command.ACTIVE_CONNECTIONS}, dialect)
    return None
