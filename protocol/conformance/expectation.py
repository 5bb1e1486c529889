"""The right responses to one datagram."""

from dataclasses import dataclass

from protocol.dialect import Dialect
from protocol.errors import BadResponse
from protocol.message import Response, Value, result
from protocol.vocabulary import Command, Status


@dataclass(frozen=True, slots=True)
class Expectation:
    """A response with any of `statuses`, or, with `silence`, none. A field that is None is not compared."""

    statuses: frozenset[Status]
    silence: bool = False
    identifier: int | None = None
    command: Command | None = None
    """The command whose value a response "done" carries."""
    value: Value | None = None
    blank: bool = False
    """Whether an error must have zeros as its result."""

    def fault(self, datagram: bytes, dialect: Dialect) -> str | None:
        """What is wrong with a response, or None."""
        if not self.statuses:
            return "a response where none is expected"
        try:
            response = Response.decode(datagram, dialect)
            value = self._value(response, dialect)
        except BadResponse as error:
            return f"invalid response: {error}"
        if response.status not in self.statuses:
            return f"status {datagram[dialect.status.offset]:02x}: {response.status.value}"
        if None not in (self.identifier, response.identifier) and (
            response.identifier != self.identifier
        ):
            return f"RID {response.identifier} instead of {self.identifier}"
        if self.value is not None and value != self.value:
            return f"value {value} instead of {self.value}"
        if response.status is Status.DONE:
            return _outside(response.result, self.command, dialect)
        if self.blank and any(response.result):
            return "an error with a result that is not zero"
        header = datagram[: len(dialect.header)]
        if dialect.zeroed_errors and any(header + datagram[dialect.response_identifier.span]):
            return "an error with a header that is not zero"
        return None

    def _value(self, response: Response, dialect: Dialect) -> Value | None:
        done = response.status is Status.DONE
        return response.value(self.command, dialect) if done and self.command else None

    def pattern(self, dialect: Dialect) -> str:
        """The expected datagram in hexadecimal, with `..` for each byte that is not compared."""
        if not self.statuses:
            return "no datagram"
        octets = [".."] * dialect.response_length
        failed = Status.DONE not in self.statuses
        place = dialect.response_identifier
        if failed and dialect.zeroed_errors:
            _put(octets, 0, "00" * len(dialect.header))
            _put(octets, place.offset, "00" * place.size)
        elif not dialect.zeroed_errors or self.statuses == {Status.DONE}:
            _put(octets, 0, dialect.header.hex())
            if (identifier := self._identifier(failed, dialect)) is not None:
                _put(octets, place.offset, identifier.to_bytes(place.size).hex())
        if len(self.statuses) == 1:
            code = dialect.status_codes[next(iter(self.statuses))]
            _put(octets, dialect.status.offset, f"{code:02x}")
            if failed and self.blank:
                _put(octets, dialect.result.offset, "00" * dialect.result.size)
            elif self.command and self.value is not None:
                written = result(self.command, self.value, dialect).hex()
                _put(octets, dialect.result.offset, written)
        return "".join(octets)

    def _identifier(self, failed: bool, dialect: Dialect) -> int | None:
        if dialect.identifier_echo == "never":
            return dialect.fixed_identifier
        if failed and dialect.identifier_echo == "good":
            return None
        return self.identifier

    def __str__(self) -> str:
        words = [status.value for status in Status if status in self.statuses]
        if len(words) > 2:
            words = ["any response" if Status.DONE in self.statuses else "any error"]
        words += ["no response"] if self.silence else []
        text = " or ".join(words)
        if self.command and Status.DONE in self.statuses:
            text += f", {self.command.value.replace('_', ' ')}"
        if self.value is not None:
            text += f" = {self.value}"
        text += ", result zero" if self.blank else ""
        return text if self.identifier is None else f"{text}, RID {self.identifier}"


def _put(octets: list[str], offset: int, digits: str) -> None:
    for position in range(len(digits) // 2):
        octets[offset + position] = digits[2 * position : 2 * position + 2]


def _outside(octets: bytes, command: Command | None, dialect: Dialect) -> str | None:
    """What is wrong with the bytes of a result in which the dialect has no value of the command's kind.

    They are zero, unless the server's values are wider than the dialect's, or elsewhere.
    """
    if command is None or dialect.operations[command].value is None:
        return None
    flag = dialect.operations[command].flag
    inside = {
        position - dialect.result.offset
        for operation in dialect.operations.values()
        if operation.value and operation.flag is flag
        for position in range(operation.value.offset, operation.value.end)
    }
    if any(octet for position, octet in enumerate(octets) if position not in inside):
        return (
            "bytes of the result outside the value are not zero:"
            " the server's values are probably wider than the dialect's, or elsewhere"
        )
    return None
