"""Requests and responses, as values and as bytes. No I/O, no clock.

In version 0 both are 14 bytes (docs/protocol.md 3 and 4):

    request    CF FE  00  RID RID  AUTH × 8  CMD
    response   CF FE  00  RID RID  STAT  RES × 8

Bytes from the network become values in `Request.decode` and `Response.decode`, but for good ones that come by the
thousand (protocol/fastpath.py, protocol/query.py). Whatever the bytes, these raise nothing
but this package's `DatagramError`s.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Self

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.errors import BadRequest, BadResponse, DiscardReason, ForeignDatagram
from protocol.vocabulary import Command, Status

Value = int | bool
"""What a command reads: a number, or True for on and False for off."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends: its identifier, the token's bytes and the command's code."""

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
        """Read a request. Faults are found in the order of protocol.md 5.2: signature, size, version.

        Raises `ForeignDatagram`, which calls for silence, or `BadRequest`, which carries its answer.
        """
        if not datagram.startswith(dialect.signature):
            raise ForeignDatagram("not this protocol's signature")
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
    """What a server sends: the identifier of the request, a status, and the bytes of RES.

    `identifier` is None where the dialect gives no identifier that could be told apart.
    A named tuple, as one is made for every datagram of a fleet: a third of a frozen dataclass's cost.
    """

    identifier: int | None
    status: Status
    result: bytes = bytes(8)

    def encode(self, dialect: Dialect = V0) -> bytes:
        """Build the datagram whole: no byte of it comes from anywhere else (protocol.md 6.2)."""
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
        """Read a response. Raises `BadResponse`, which says what is wrong: size, signature, version, RID or STAT."""
        if len(datagram) != dialect.response_length:
            raise BadResponse(
                DiscardReason.SIZE, f"{len(datagram)} bytes, not {dialect.response_length}"
            )
        status = dialect.statuses.get(datagram[dialect.status.offset])
        octets = datagram[dialect.response_identifier.span]
        result = datagram[dialect.result.span]
        if not datagram.startswith(dialect.header):
            if not dialect.zeroed_errors or any(datagram[: len(dialect.header)] + octets):
                raise _foreign(datagram, dialect)
            if status is None or status is Status.DONE:
                raise BadResponse(DiscardReason.STATUS, "a header of zeros without an error")
            return cls(None, status, result)
        if status is None:
            code = datagram[dialect.status.offset]
            raise BadResponse(DiscardReason.STATUS, f"status {code}, which means nothing")
        identifier = int.from_bytes(octets)
        if dialect.identifier_echo == "always":
            return cls(identifier, status, result)
        if dialect.identifier_echo == "never" and identifier != dialect.fixed_identifier:
            raise BadResponse(DiscardReason.IDENTIFIER, f"identifier {identifier}")
        if dialect.identifier_echo == "good" and status is Status.DONE:
            return cls(identifier, status, result)
        return cls(None, status, result)

    def value(self, command: Command, dialect: Dialect = V0) -> Value | None:
        """What RES says in answer to `command`: a number, a flag, or None where it only says "done".

        Raises `BadResponse` where a flag is neither on nor off, or a number is negative.
        """
        operation = dialect.operations[command]
        if operation.value is None:
            return None
        start = operation.value.offset - dialect.result.offset
        octets = self.result[start : start + operation.value.size]
        number = int.from_bytes(octets, dialect.byte_order, signed=operation.signed)
        return meaning(number, command, dialect)


def meaning(number: int, command: Command, dialect: Dialect = V0) -> Value:
    """The value that `number` in RES stands for. Raises `BadResponse` where it makes no sense."""
    operation = dialect.operations[command]
    if not operation.flag:
        if number >= 0:
            return number
        if command is Command.ACTIVE_CONNECTIONS or operation.value is None:
            raise BadResponse(DiscardReason.RESULT, f"{number} connections")
        # A C int that counted past its largest value: the same bits, read as unsigned, go on counting.
        return number + (1 << 8 * operation.value.size)
    if number == dialect.on:
        return True
    if number in dialect.off:
        return False
    raise BadResponse(DiscardReason.RESULT, f"a flag that is neither on nor off: {number:#x}")


def good_beginning(dialect: Dialect = V0) -> tuple[bytes, bytes] | None:
    """What every good answer has before and behind its identifier, and no other datagram: header, and STAT "done".

    None for a dialect in which these do not stand together, or whose answers have no identifier of their own.
    """
    header, place = dialect.header, dialect.response_identifier
    together = len(header) == place.offset and place.end == dialect.status.offset
    if not together or dialect.identifier_echo == "never":
        return None
    return header, bytes([dialect.status_codes[Status.DONE]])


def _foreign(datagram: bytes, dialect: Dialect) -> BadResponse:
    """What is wrong with a header that is not the dialect's."""
    if datagram.startswith(dialect.signature):
        return BadResponse(DiscardReason.VERSION, f"version {datagram[len(dialect.signature)]}")
    return BadResponse(DiscardReason.SIGNATURE, "not this protocol's signature")


def result(command: Command, value: Value | None, dialect: Dialect = V0) -> bytes:
    """The bytes of RES that say `value` in answer to `command`; a number too wide for the dialect wraps."""
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
    """The names of the known dialects whose response this datagram could be."""
    names = []
    for dialect in DIALECTS.values():
        try:
            Response.decode(datagram, dialect)
        except BadResponse:
            continue
        names.append(dialect.name)
    return names
