"""Everything that this package raises.

SMTPStatusError
├── TokenError                a token that the dialect cannot carry
├── DialectError              a dialect whose table makes no sense
├── DatagramError             bytes that are not what the protocol says
│   ├── ForeignDatagram       not this protocol: answered with silence
│   ├── BadRequest            carries the status and the identifier of the answer that it calls for
│   └── BadResponse           carries the reason for which it is not believed
└── NoReading                 a question that found no answer to believe; carries its reason
    ├── Refused               the server answered, and said no
    ├── NoAnswer              silence until the deadline
    ├── InvalidResponses           until the deadline only datagrams came that do not answer the question
    │   └── OtherDialect      … and they are those of another dialect
    ├── Unreachable           the system reported that nobody is there
    ├── UnknownName           the host's name has no address
    └── ReadbackMismatch          the state read back is not the one that was set
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.vocabulary import Status


class FailureReason(StrEnum):
    """Why there is no reading: the whole list, as a metric's label has it."""

    AUTHENTICATION = "authentication"
    COMMAND = "command"
    CONTRADICTION = "contradiction"
    DIALECT = "dialect"
    NAME = "name"
    REQUEST = "request"
    RESPONSE = "response"
    SERVER = "server"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    VERSION = "version"


class DiscardReason(StrEnum):
    """Why a datagram that came in was not believed."""

    SOURCE = "source"
    SIZE = "size"
    SIGNATURE = "signature"
    VERSION = "version"
    IDENTIFIER = "identifier"
    STATUS = "status"
    RESULT = "result"


class SMTPStatusError(Exception):
    """The root of the tree."""


class TokenError(SMTPStatusError, ValueError):
    """A token that the dialect cannot carry. The text tells what would fit, never the token."""


class DialectError(SMTPStatusError, ValueError):
    """A dialect whose table makes no sense: which `field`, and what its `problem` is."""

    def __init__(self, dialect: str, field: str, value: object, remedy: str) -> None:
        self.field = field
        self.problem = f"is {value!r}, but what fits is {remedy}"
        super().__init__(f"dialect {dialect}: {field} {self.problem}")


class DatagramError(SMTPStatusError, ValueError):
    """Bytes that are not what the protocol says."""


class ForeignDatagram(DatagramError):
    """A datagram without our signature (protocol.md 5.1): there is no status for it."""


class BadRequest(DatagramError):
    """A request that is answered with an error: the status to send and the identifier to echo."""

    def __init__(self, status: Status, identifier: int) -> None:
        super().__init__(status.value)
        self.status = status
        self.identifier = identifier


class BadResponse(DatagramError):
    """A response that cannot be believed."""

    def __init__(self, reason: DiscardReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class NoReading(SMTPStatusError):
    """A question that found no answer to believe."""

    reason: FailureReason


class Refused(NoReading):
    """The server answered, and said no."""

    def __init__(self, status: Status, reason: FailureReason) -> None:
        super().__init__(f"the server says: {status.value}")
        self.status = status
        self.reason = reason


class NoAnswer(NoReading):
    """Silence until the deadline."""

    reason = FailureReason.TIMEOUT

    def __init__(self, waited: float, datagrams: int) -> None:
        if datagrams:
            text = f"no answer within {waited:.3g} s to {datagrams} datagrams"
        else:
            text = "the deadline came before anything could be asked"
        super().__init__(text)


class InvalidResponses(NoReading):
    """Until the deadline only datagrams came that do not answer the question."""

    reason = FailureReason.RESPONSE

    def __init__(self, discarded: Mapping[DiscardReason, int]) -> None:
        counts = ", ".join(f"{count} for their {reason}" for reason, count in discarded.items())
        super().__init__(f"no answer that can be believed; ignored {counts}")


class OtherDialect(InvalidResponses):
    """What came fits another dialect than the one that the target is configured with."""

    reason = FailureReason.DIALECT

    def __init__(self, configured: str, fitting: tuple[str, ...]) -> None:
        NoReading.__init__(
            self,
            f"the server does not speak dialect {configured}; its replies fit {' or '.join(fitting)}",
        )
        self.fitting = fitting


class Unreachable(NoReading):
    """The system reported that nobody is there: a closed port, no route, a firewall."""

    reason = FailureReason.UNREACHABLE


class UnknownName(NoReading):
    """The host's name has no address."""

    reason = FailureReason.NAME


class ReadbackMismatch(NoReading):
    """The state read back is not the one that was set: somebody else writes, or the server does not keep it."""

    reason = FailureReason.CONTRADICTION

    def __init__(self, wanted: bool) -> None:
        words = ("off", "on") if wanted else ("on", "off")
        super().__init__(f"the transforms read back as {words[0]} after they were set {words[1]}")
