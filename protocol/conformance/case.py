"""One thing that a server must do, as a value: what is sent, and which answers are right."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from protocol.dialect import Dialect
from protocol.errors import BadResponse
from protocol.message import Response, Value
from protocol.vocabulary import Command, Status


class Mode(Enum):
    """How the steps of a case follow each other."""

    IN_TURN = "in turn"
    AT_ONCE = "at once"
    ECHOED = "each answer sent back"


@dataclass(frozen=True, slots=True)
class Expectation:
    """The right answers: one with any of `statuses`, or, where `silence` is right, none.

    What is None does not matter. A status that the dialect lacks cannot be told; then anything but "done" is right.
    """

    statuses: frozenset[Status]
    silence: bool = False
    identifier: int | None = None
    command: Command | None = None
    """Whose value an answer "done" carries."""
    value: Value | None = None
    blank: bool = False
    """Whether an error may have no byte in its result but zeros."""

    def fault(self, datagram: bytes, dialect: Dialect) -> str | None:
        """What is wrong with an answer, or None."""
        try:
            response = Response.decode(datagram, dialect)
            value = self._value(response, dialect)
        except BadResponse as error:
            return f"not a response: {error}"
        if response.status not in self.statuses:
            return f"the status is {response.status.value}"
        if None not in (self.identifier, response.identifier) and (
            response.identifier != self.identifier
        ):
            return f"the RID is {response.identifier}"
        if self.value is not None and value != self.value:
            return f"the value is {value}"
        if self.blank and response.status is not Status.DONE and any(response.result):
            return "an error carries a number"
        return None

    def _value(self, response: Response, dialect: Dialect) -> Value | None:
        done = response.status is Status.DONE
        return response.value(self.command, dialect) if done and self.command else None

    def __str__(self) -> str:
        words = [status.value for status in Status if status in self.statuses]
        if len(words) == len(Status):
            words = ["an error"]
        words += ["silence"] if self.silence else []
        text = " or ".join(words)
        if self.command:
            text += f", {self.command.value.replace('_', ' ')}"
        if self.value is not None:
            text += f" = {self.value}"
        text += ", RES zero" if self.blank else ""
        return text if self.identifier is None else f"{text}, RID {self.identifier}"


@dataclass(frozen=True, slots=True)
class Step:
    """One datagram, and the answer to it."""

    sent: bytes
    wanted: Expectation


class Requirement(Enum):
    """What must hold between the values that a case has read, in the order of its steps."""

    NONE = "nothing"
    GROWING = "a counter never falls"
    ORDERED = "the first is not larger than the second"
    SENSIBLE = "no number makes sense only when its bytes are turned around"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a server must do: its name, and its clause of docs/protocol.md."""

    name: str
    clause: str
    steps: tuple[Step, ...]
    manner: Mode = Mode.IN_TURN
    rule: Requirement = Requirement.NONE
    once: bool = False
    """Whether a second answer to a datagram is a fault."""
    writes: bool = False
    """Whether it sends commands that write; the state is put back afterwards."""


def broken(
    rule: Requirement, read: Sequence[tuple[Command, Value]], dialect: Dialect
) -> str | None:
    """How the values that a case has read break its rule, or None."""
    if rule is Requirement.GROWING:
        last: dict[Command, Value] = {}
        for command, value in read:
            if value < last.get(command, 0):
                return f"{command.value} fell from {last[command]} to {value}"
            last[command] = value
    if rule is Requirement.ORDERED and len(read) == 2:
        (_, open_now), (_, ever) = read
        if open_now > ever:
            return f"{open_now} connections are open, of {ever} that there have been"
    if rule is Requirement.SENSIBLE:
        for command, value in read:
            place = dialect.operations[command].value
            half = 1 << 4 * (place.size if place else 0)
            if value and value % half == 0:
                return f"{command.value} is {value}: its bytes are in the other order"
    return None
