"""The vocabulary of SMTPStatus, and where each word stands on the wire.

A `Dialect` is a table of data: it says which bytes stand where, and nothing else in this package
knows. The known ones are in protocol/dialects.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from protocol.errors import DialectError
from protocol.vocabulary import WRITES, Command, Status

_derive = object.__setattr__
"""Sets what follows from the other fields of a frozen value, once: it is read for every datagram."""


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


@dataclass(frozen=True, slots=True)
class Operation:
    """One command of a dialect: its code, and where in the response its value stands.

    Without a `value` the answer says only "done". A flag's value is compared with the dialect's `on` and `off`.
    """

    code: int
    value: Field | None
    signed: bool = False
    flag: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where the bytes stand, checked for sense when it is built.

    Raises `DialectError`, which names the field, its value and what would fit.
    """

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
    """Of numbers. An identifier is opaque: it comes back as it was sent."""
    on: int = 0
    off: tuple[int, ...] = (1,)
    """The numbers taken as off; the first is the one that a server writes."""
    default_port: int = 7030
    identifier_echo: Literal["always", "good", "never"] = "always"
    """Whether RID comes back in every answer, in good ones alone, or is a `fixed_identifier`."""
    fixed_identifier: int = 0
    zeroed_errors: bool = False
    """Whether an error comes with zeros for signature, version and RID."""
    silent_errors: bool = False
    """Whether an error is not answered at all."""
    reads: tuple[Command, ...] = field(init=False)
    """The commands that a scrape may send, in the order of their codes."""
    header: bytes = field(init=False)
    """What every datagram begins with: signature and version."""
    codes: Mapping[int, Command] = field(init=False)
    status_codes: Mapping[Status, int] = field(init=False)
    tells_apart: bool = field(init=False)
    """Whether every answer, an error too, has the identifier of the question that it answers."""

    def __post_init__(self) -> None:
        if not 0 <= self.version <= 255:
            raise DialectError(self.name, "version", self.version, "a byte, 0 to 255")
        _derive(self, "header", self.signature + bytes([self.version]))
        _check(self)
        ordered = sorted(self.operations, key=lambda command: self.operations[command].code)
        _derive(self, "reads", tuple(command for command in ordered if command not in WRITES))
        _derive(self, "codes", {self.operations[command].code: command for command in ordered})
        _derive(self, "tells_apart", self.identifier_echo == "always" and not self.zeroed_errors)
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
    def refuse(field: str, value: object, remedy: str) -> None:
        raise DialectError(dialect.name, field, value, remedy)

    if not 1 <= len(dialect.signature) <= 8:
        refuse("signature", dialect.signature.hex(), "1 to 8 bytes")
    if dialect.byte_order not in ("big", "little"):
        refuse("byte_order", dialect.byte_order, "big or little")
    if not 1 <= dialect.default_port <= 65535:
        refuse("default_port", dialect.default_port, "a port, 1 to 65535")
    if not 1 <= dialect.authentication.size <= 8:
        refuse("authentication.size", dialect.authentication.size, "a token of 1 to 8 bytes")
    if dialect.request_identifier.size != dialect.response_identifier.size:
        refuse(
            "response_identifier.size",
            dialect.response_identifier.size,
            f"the request's, {dialect.request_identifier.size}",
        )
    if not 1 <= dialect.request_identifier.size <= 8:
        refuse("request_identifier.size", dialect.request_identifier.size, "1 to 8 bytes")
    if dialect.on in dialect.off or not dialect.off:
        refuse("off", dialect.off, f"numbers other than on, {dialect.on}")
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
            refuse(f"{single}.size", size, "1 byte")
    _check_words(dialect)


def _check_layout(
    dialect: Dialect, datagram: str, length: int, fields: Mapping[str, Field]
) -> None:
    if not 1 <= length <= 64:
        raise DialectError(dialect.name, f"{datagram}_length", length, "1 to 64 bytes")
    for name, place in fields.items():
        if place.offset < 0 or place.size < 1 or place.end > length:
            raise DialectError(
                dialect.name,
                name,
                f"bytes {place.offset} to {place.end - 1}",
                f"0 to {length - 1}",
            )
    for (name, place), (after, following) in pairwise(
        sorted(fields.items(), key=lambda item: item[1].offset)
    ):
        if place.end > following.offset:
            raise DialectError(
                dialect.name,
                after,
                f"offset {following.offset}",
                f"{place.end} or more, behind the {name.replace('_', ' ')}",
            )


def _check_words(dialect: Dialect) -> None:
    taken: dict[int, Command] = {}
    for command, operation in dialect.operations.items():
        where = f"commands.{command.name.lower()}"
        if not 0 <= operation.code <= 255:
            raise DialectError(dialect.name, f"{where}.code", operation.code, "a byte, 0 to 255")
        if taken.setdefault(operation.code, command) is not command:
            raise DialectError(
                dialect.name,
                f"{where}.code",
                operation.code,
                f"a code of its own; {taken[operation.code].name.lower()} has this one",
            )
        value = operation.value
        if value is None and command not in WRITES:
            raise DialectError(dialect.name, f"{where}.value", None, "a place in the result")
        if value is not None and not (
            dialect.result.offset <= value.offset
            and 1 <= value.size <= 8
            and value.end <= dialect.result.end
        ):
            raise DialectError(
                dialect.name,
                f"{where}.value",
                f"bytes {value.offset} to {value.end - 1}",
                f"up to 8 of bytes {dialect.result.offset} to {dialect.result.end - 1}, the result",
            )
    if dialect.operations.keys() <= WRITES:
        commands = [command.name.lower() for command in dialect.operations]
        raise DialectError(dialect.name, "commands", commands, "at least one command that reads")
    if Status.DONE not in dialect.statuses.values():
        raise DialectError(dialect.name, "statuses", dict(dialect.statuses), "one that means done")
    if not all(0 <= code <= 255 for code in dialect.statuses):
        raise DialectError(dialect.name, "statuses", dict(dialect.statuses), "bytes, 0 to 255")
