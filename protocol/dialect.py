"""The layout of requests and responses on the wire, as data.

A `Dialect` is a table: nothing else in this package knows offsets, codes or byte orders. The built-in ones are in
protocol/dialects.py; docs/dialects.md describes every field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from protocol.errors import DialectError
from protocol.vocabulary import WRITES, Command, Status

_derive = object.__setattr__
"""Sets a field of a frozen value that is derived from the others, once: it is read for every datagram."""


@dataclass(frozen=True, slots=True)
class Field:
    """A run of bytes in a datagram: zero-based offset and size, both in bytes."""

    offset: int
    size: int
    end: int = field(init=False, repr=False)
    span: slice = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _derive(self, "end", self.offset + self.size)
        _derive(self, "span", slice(self.offset, self.end))


NOWHERE = Field(0, 0)
"""The place of an identifier that requests or responses do not have."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One command of a dialect: its code, and the place of its value in the response.

    Without a `value` the response has only a status. A flag's value is compared with the dialect's `on` and `off`.
    """

    code: int
    value: Field | None
    signed: bool = False
    flag: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect. Raises `DialectError`, which names the field, the problem and what would fit."""

    name: str
    signature: bytes
    request_length: int
    request_identifier: Field
    authentication: Field
    command: Field
    response_length: int
    response_identifier: Field
    status: Field
    result: Field
    operations: Mapping[Command, Operation]
    statuses: Mapping[int, Status]
    version: int = 0
    byte_order: Literal["big", "little"] = "big"
    """The byte order of numbers. Identifiers are opaque: they are echoed as they were sent."""
    on: int = 0
    off: tuple[int, ...] = (1,)
    """The numbers that mean off; a server writes the first."""
    default_port: int = 7030
    identifier_echo: Literal["always", "good", "never"] = "always"
    """Whether every response has the RID of its request, only those with status done, or none (`fixed_identifier`)."""
    fixed_identifier: int = 0
    zeroed_errors: bool = False
    """Whether error responses have zeros as signature, version and RID."""
    silent_errors: bool = False
    """Whether a request with an error gets no response."""
    reads: tuple[Command, ...] = field(init=False)
    """The commands that a scrape may send, in the order of their codes."""
    header: bytes = field(init=False)
    """The first bytes of every datagram: signature and version."""
    codes: Mapping[int, Command] = field(init=False)
    status_codes: Mapping[Status, int] = field(init=False)
    matches_responses: bool = field(init=False)
    """Whether every response, errors included, has the RID of its request."""

    def __post_init__(self) -> None:
        if not 0 <= self.version <= 255:
            raise DialectError(self.name, "version", f"{self.version} is not a byte, 0 to 255")
        _derive(self, "header", self.signature + bytes([self.version]))
        _check(self)
        ordered = sorted(self.operations, key=lambda command: self.operations[command].code)
        _derive(self, "reads", tuple(command for command in ordered if command not in WRITES))
        _derive(self, "codes", {self.operations[command].code: command for command in ordered})
        _derive(
            self, "matches_responses", self.identifier_echo == "always" and not self.zeroed_errors
        )
        _derive(self, "status_codes", {status: code for code, status in self.statuses.items()})

    @property
    def token_length(self) -> int:
        return self.authentication.size

    @property
    def can_switch(self) -> bool:
        """Whether the transforms can be read, switched on and switched off."""
        return {
            Command.TRANSFORMS,
            Command.ENABLE_TRANSFORMS,
            Command.DISABLE_TRANSFORMS,
        } <= self.operations.keys()


def _check(dialect: Dialect) -> None:
    def refuse(field: str, problem: str) -> None:
        raise DialectError(dialect.name, field, problem)

    if len(dialect.signature) > 8:
        refuse("signature", f"{len(dialect.signature)} bytes: expected at most 8")
    if dialect.byte_order not in ("big", "little"):
        refuse("byte_order", f"{dialect.byte_order!r}: expected big or little")
    if not 1 <= dialect.default_port <= 65535:
        refuse("default_port", f"{dialect.default_port}: expected a port, 1 to 65535")
    if not 1 <= dialect.authentication.size <= 8:
        refuse("authentication", f"{dialect.authentication.size} bytes: expected 1 to 8")
    _check_identifiers(dialect)
    _check_layout(
        dialect,
        "request",
        dialect.request_length,
        {
            "header": Field(0, len(dialect.header)),
            "request_identifier": dialect.request_identifier,
            "authentication": dialect.authentication,
            "command": dialect.command,
        },
    )
    _check_layout(
        dialect,
        "response",
        dialect.response_length,
        {
            "header": Field(0, len(dialect.header)),
            "response_identifier": dialect.response_identifier,
            "status": dialect.status,
            "result": dialect.result,
        },
    )
    for single in ("command", "status"):
        if (size := getattr(dialect, single).size) != 1:
            refuse(single, f"{size} bytes: expected 1 byte")
    _check_operations(dialect)
    _check_flags(dialect)
    if Status.DONE not in dialect.statuses.values():
        refuse("statuses", "missing done: add its code")
    if not all(0 <= code <= 255 for code in dialect.statuses):
        refuse("statuses", "a code is not a byte, 0 to 255")


def _check_identifiers(dialect: Dialect) -> None:
    sent, echoed = dialect.request_identifier, dialect.response_identifier
    for name, place in (("request_identifier", sent), ("response_identifier", echoed)):
        if place.size > 8:
            raise DialectError(dialect.name, name, f"{place.size} bytes: expected 1 to 8")
    if dialect.identifier_echo == "never":
        limit = 256**echoed.size - 1
        if not 0 <= dialect.fixed_identifier <= limit:
            raise DialectError(
                dialect.name,
                "fixed_identifier",
                f"{dialect.fixed_identifier} does not fit {echoed.size} bytes: expected 0 to {limit}",
            )
    elif not sent.size or not echoed.size:
        problem = f"{dialect.identifier_echo} needs an identifier in requests and responses"
        raise DialectError(dialect.name, "identifier_echo", f"{problem}: expected never")
    elif sent.size != echoed.size:
        raise DialectError(
            dialect.name,
            "response_identifier",
            f"{echoed.size} bytes, but the request's has {sent.size}: expected the same size",
        )


def _check_layout(
    dialect: Dialect, datagram: str, length: int, fields: Mapping[str, Field]
) -> None:
    if not 1 <= length <= 64:
        raise DialectError(dialect.name, f"{datagram}_length", f"{length}: expected 1 to 64 bytes")
    placed = {name: place for name, place in fields.items() if place.size}
    for name, place in placed.items():
        if place.offset < 0 or place.end > length:
            raise DialectError(
                dialect.name,
                name,
                f"{_bytes(place)} outside the {datagram} of {length} bytes: expected 0 to {length - 1}",
            )
    for (name, place), (after, following) in pairwise(
        sorted(placed.items(), key=lambda item: item[1].offset)
    ):
        if place.end > following.offset:
            raise DialectError(
                dialect.name,
                after,
                f"overlap of {_bytes(following)} with the {_word(name)}, {_bytes(place)}:"
                f" expected offset {place.end} or more",
            )


def _bytes(place: Field) -> str:
    last = place.end - 1
    return f"byte {last}" if place.size == 1 else f"bytes {place.offset} to {last}"


def _word(name: str) -> str:
    words = {"header": "signature and version", "authentication": "token"}
    return words.get(name, name.removeprefix("request_").removeprefix("response_"))


def _check_operations(dialect: Dialect) -> None:
    taken: dict[int, Command] = {}
    for command, operation in dialect.operations.items():
        where = f"commands.{command.name.lower()}"
        if not 0 <= operation.code <= 255:
            problem = f"{operation.code} is not a byte, 0 to 255"
            raise DialectError(dialect.name, f"{where}.code", problem)
        if (other := taken.setdefault(operation.code, command)) is not command:
            problem = f"duplicate code {operation.code}: {other.name.lower()} has it"
            raise DialectError(dialect.name, f"{where}.code", problem)
        value = operation.value
        if value is None and command not in WRITES:
            problem = "none, for a command that reads: expected an offset and a size"
            raise DialectError(dialect.name, f"{where}.value", problem)
        if value is not None and not 1 <= value.size <= 8:
            problem = f"{value.size} bytes: expected an offset and a size of at most 8 bytes"
            raise DialectError(dialect.name, f"{where}.value", problem)
        if value is not None and not (
            dialect.result.offset <= value.offset and value.end <= dialect.result.end
        ):
            raise DialectError(
                dialect.name,
                f"{where}.value",
                f"{_bytes(value)} outside the result, {_bytes(dialect.result)}: widen the result",
            )
    if dialect.operations.keys() <= WRITES:
        raise DialectError(dialect.name, "commands", "expected at least one command that reads")


def _check_flags(dialect: Dialect) -> None:
    if not dialect.off:
        raise DialectError(dialect.name, "off", "empty: expected at least one number")
    if dialect.on in dialect.off:
        problem = f"{dialect.on} means on and off: expected another number"
        if dialect.off == (1,):
            problem = f"{dialect.on} is the default of off: add off with another number"
        raise DialectError(dialect.name, "on" if dialect.off == (1,) else "off", problem)
    for command, operation in dialect.operations.items():
        if not operation.flag or operation.value is None:
            continue
        for name, number in (("on", dialect.on), ("off", dialect.off[0])):
            if number >= 256**operation.value.size:
                where = f"the value of {command.name.lower()}, {_bytes(operation.value)}"
                raise DialectError(dialect.name, name, f"{number} does not fit {where}")
