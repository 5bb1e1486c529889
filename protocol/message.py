"""Requests and responses, as values and as bytes. No I/O, no clock.

In version 0 both are 14 bytes (docs/protocol.md 3 and 4):

    request    CF FE  00  RID RID  AUTH × 8  CMD
    response   CF FE  00  RID RID  STAT  RES × 8

`Request.decode` and `Response.decode` parse untrusted bytes. Whatever the bytes, they raise only this package's
`DatagramError`s.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.errors import BadRequest, BadResponse, DiscardReason, ForeignDatagram
from protocol.vocabulary import COUNTERS, Command, Status

Value = int | bool
"""The value of a command: a number, or True for on and False for off."""

NUMBERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""`struct` formats of unsigned numbers by size in bytes; values of other sizes are not read by columns."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request: identifier, token bytes and command code."""

    identifier: int
    authentication: bytes = field(repr=False)
    code: int

    def encode(self, dialect: Dialect = V0) -> bytes:
        datagram = bytearray(dialect.request_length)
        header = dialect.header
        datagram[: len(header)] = header
        place = dialect.request_identifier
        datagram[place.span] = self.identifier.to_bytes(place.size)
        datagram[dialect.authentication.span] = self.authentication
        datagram[dialect.command.offset] = self.code
        return bytes(datagram)

    @classmethod
    def decode(cls, datagram: bytes, dialect: Dialect = V0) -> Self:
        """Parses a request, checking in the order of protocol.md 5.2: signature, size, version.

        Raises `ForeignDatagram`, which gets no reply, or `BadRequest`, which carries its reply.
        """
        if not datagram.startswith(dialect.signature):
            raise ForeignDatagram("foreign signature")
        place = dialect.request_identifier
        identifier = 0
        if len(datagram) >= place.end:
            identifier = int.from_bytes(datagram[place.span])
        if len(datagram) != dialect.request_length:
            raise BadRequest(Status.INVALID_REQUEST, identifier)
        if datagram[len(dialect.signature)] != dialect.version:
            raise BadRequest(Status.INVALID_VERSION, identifier)
        return cls(
            identifier, datagram[dialect.authentication.span], datagram[dialect.command.offset]
        )


class Response(NamedTuple):
    """A server's response: the identifier of the request, a status, and the bytes of RES.

    `identifier` is None where the dialect's response does not identify the request.
    A named tuple costs a third of a frozen dataclass; one is created per datagram.
    """

    identifier: int | None
    status: Status
    result: bytes = bytes(8)

    def encode(self, dialect: Dialect = V0) -> bytes:
        """Encodes the whole datagram: no byte is left uninitialised (protocol.md 6.2)."""
        datagram = bytearray(dialect.response_length)
        failed = self.status is not Status.DONE
        if not (failed and dialect.zeroed_errors):
            header = dialect.header
            datagram[: len(header)] = header
            place = dialect.response_identifier
            identifier = self.identifier
            if dialect.identifier_echo == "never":
                identifier = dialect.fixed_identifier
            elif failed and dialect.identifier_echo == "good":
                identifier = 0
            datagram[place.span] = (identifier or 0).to_bytes(place.size)
        datagram[dialect.status.offset] = dialect.status_codes[self.status]
        if not failed:
            datagram[dialect.result.span] = self.result
        return bytes(datagram)

    @classmethod
    def decode(cls, datagram: bytes, dialect: Dialect = V0) -> Self:
        """Parses a response. Raises `BadResponse` for a wrong size, signature, version, RID or STAT."""
        if len(datagram) != dialect.response_length:
            raise BadResponse(
                DiscardReason.SIZE, f"{len(datagram)} bytes instead of {dialect.response_length}"
            )
        status = dialect.statuses.get(datagram[dialect.status.offset])
        octets = datagram[dialect.response_identifier.span]
        result = datagram[dialect.result.span]
        if not datagram.startswith(dialect.header):
            if not dialect.zeroed_errors or any(datagram[: len(dialect.header)] + octets):
                raise _foreign(datagram, dialect)
            if status is None or status is Status.DONE:
                raise BadResponse(DiscardReason.STATUS, "zeroed header without an error status")
            return cls(None, status, result)
        if status is None:
            code = datagram[dialect.status.offset]
            raise BadResponse(DiscardReason.STATUS, f"unknown status {code}")
        identifier = int.from_bytes(octets)
        if dialect.identifier_echo == "always":
            return cls(identifier, status, result)
        if dialect.identifier_echo == "never" and identifier != dialect.fixed_identifier:
            raise BadResponse(DiscardReason.IDENTIFIER, f"unexpected identifier {identifier}")
        if dialect.identifier_echo == "good" and status is Status.DONE:
            return cls(identifier, status, result)
        return cls(None, status, result)

    def value(self, command: Command, dialect: Dialect = V0) -> Value | None:
        """Returns the value of RES for `command`: a number, a flag, or None where the response only confirms.

        Raises `BadResponse` for a flag that is neither on nor off.
        """
        operation = dialect.operations[command]
        if operation.value is None:
            return None
        start = operation.value.offset - dialect.result.offset
        octets = self.result[start : start + operation.value.size]
        number = int.from_bytes(octets, dialect.byte_order, signed=operation.signed)
        return meaning(number, command, dialect)


def meaning(number: int, command: Command, dialect: Dialect = V0) -> Value:
    """Returns the value that `number` in RES encodes. Raises `BadResponse` for an invalid flag."""
    operation = dialect.operations[command]
    if not operation.flag:
        if number < 0 and command in COUNTERS and operation.value:
            # A C int that overflowed: the same bits, read as unsigned, continue the count.
            return number + (1 << 8 * operation.value.size)
        return number  # a gauge below zero is a defect of the server, and is shown as it is
    if number == dialect.on:
        return True
    if number in dialect.off:
        return False
    raise BadResponse(DiscardReason.RESULT, f"flag is neither on nor off: {number:#x}")


def column(
    results: Sequence[bytes | None], command: Command, dialect: Dialect = V0
) -> Sequence[Value | None]:
    """Returns the values of many RES for `command`; None where there is no RES, or an invalid flag."""
    operation = dialect.operations[command]
    assert operation.value
    size, start = operation.value.size, operation.value.offset - dialect.result.offset
    absent, span = bytes(size), slice(start, start + size)
    octets = b"".join([absent if one is None else one[span] for one in results])
    code = NUMBERS[size].lower() if operation.signed else NUMBERS[size]
    order = ">" if dialect.byte_order == "big" else "<"
    numbers: tuple[int, ...] = struct.unpack(f"{order}{len(results)}{code}", octets)
    values: Sequence[Value | None] = numbers  # of an unsigned number itself
    if operation.flag or operation.signed:
        meanings = {number: _meaning(number, command, dialect) for number in set(numbers)}
        values = [meanings[number] for number in numbers]
    if None in results:
        values = [
            None if one is None else value for one, value in zip(results, values, strict=True)
        ]
    return values


def _meaning(number: int, command: Command, dialect: Dialect) -> Value | None:
    try:
        return meaning(number, command, dialect)
    except BadResponse:
        return None


def good_beginning(dialect: Dialect = V0) -> tuple[bytes, bytes] | None:
    """Returns the bytes before and after the identifier in every good response: header, and STAT "done".

    None for a dialect in which these are not contiguous, or whose responses have no identifier of their own.
    """
    header, place = dialect.header, dialect.response_identifier
    together = len(header) == place.offset and place.end == dialect.status.offset
    if not together or dialect.identifier_echo == "never":
        return None
    return header, bytes([dialect.status_codes[Status.DONE]])


def _foreign(datagram: bytes, dialect: Dialect) -> BadResponse:
    """Returns the error for a header that is not the dialect's."""
    if datagram.startswith(dialect.signature):
        return BadResponse(DiscardReason.VERSION, f"version {datagram[len(dialect.signature)]}")
    return BadResponse(DiscardReason.SIGNATURE, "foreign signature")


def result(command: Command, value: Value | None, dialect: Dialect = V0) -> bytes:
    """Encodes `value` as RES of a response to `command`; a number too wide for the dialect wraps."""
    octets = bytearray(dialect.result.size)
    operation = dialect.operations[command]
    if operation.value is None or value is None:
        return bytes(octets)
    number = int(value)
    if operation.flag:
        number = dialect.on if value else dialect.off[0]
    size = operation.value.size
    start = operation.value.offset - dialect.result.offset
    wrapped = number % (1 << 8 * size)
    octets[start : start + size] = wrapped.to_bytes(size, dialect.byte_order)
    return bytes(octets)


def fitting_dialects(datagram: bytes) -> list[str]:
    """Returns the names of the built-in dialects in which `datagram` is a valid response."""
    names = []
    for dialect in DIALECTS.values():
        try:
            Response.decode(datagram, dialect)
        except BadResponse:
            continue
        names.append(dialect.name)
    return names
