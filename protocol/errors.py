"""The exceptions of this package.

SMTPStatusError
├── TokenError                a token that does not fit the dialect
├── DialectError              an inconsistent dialect table
├── DatagramError             a datagram that violates the protocol
│   ├── ForeignDatagram       another protocol's: no reply is sent
│   ├── BadRequest            carries the status and the identifier of its reply
│   └── BadResponse           carries the reason for which it is discarded
├── Shortage                  this machine could not carry out the operation; carries the resource
└── NoReading                 a query without a valid response; carries its reason
    ├── Refused               the server returned an error status
    ├── NoAnswer              no datagram arrived before the deadline
    ├── InvalidResponses      only invalid datagrams arrived before the deadline
    │   └── OtherDialect      ... and they fit another dialect
    ├── Unreachable           the system reported the destination as unreachable
    ├── UnknownName           the host name has no address
    ├── ReadbackMismatch      the state read back differs from the state set
    └── InternalError         a defect of this program; its log has the traceback
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import TYPE_CHECKING

from protocol.vocabulary import Status

if TYPE_CHECKING:
    from collections.abc import Mapping


class FailureReason(StrEnum):
    """Why a query failed; the values are those of the metric label `reason`."""

    AUTHENTICATION = "authentication"
    COMMAND = "command"
    CONTRADICTION = "contradiction"
    DIALECT = "dialect"
    INTERNAL = "internal"
    NAME = "name"
    REQUEST = "request"
    RESPONSE = "response"
    SERVER = "server"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    VERSION = "version"


class DiscardReason(StrEnum):
    """Why a received datagram was discarded; the values are those of the metric label `reason`."""

    SOURCE = "source"
    SIZE = "size"
    SIGNATURE = "signature"
    VERSION = "version"
    IDENTIFIER = "identifier"
    STATUS = "status"
    RESULT = "result"


class Resource(StrEnum):
    """Local resources that can run out; the values are those of a metric label."""

    DESCRIPTORS = "descriptors"
    MEMORY = "memory"
    SEND_QUEUE = "send_queue"
    STALL = "stall"
    THREADS = "threads"


SHORTAGES = {
    errno.EMFILE: Resource.DESCRIPTORS,
    errno.ENFILE: Resource.DESCRIPTORS,
    errno.ENOMEM: Resource.MEMORY,
    errno.ENOBUFS: Resource.SEND_QUEUE,
    errno.EAGAIN: Resource.SEND_QUEUE,
}
"""Resources of this machine that errors of the system are about."""


class SMTPStatusError(Exception):
    """The base class of this package's exceptions."""


class TokenError(SMTPStatusError, ValueError):
    """A token that does not fit the dialect. The message states the expected form and never contains the token."""


class DialectError(SMTPStatusError, ValueError):
    """An inconsistent dialect table: `field` is the entry at fault, `problem` the explanation."""

    def __init__(self, dialect: str, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"dialect {dialect}: {field}: {problem}")


class DatagramError(SMTPStatusError, ValueError):
    """A datagram that violates the protocol."""


class ForeignDatagram(DatagramError):
    """A datagram without the dialect's signature (protocol.md 5.1): no reply is sent."""


class BadRequest(DatagramError):
    """An invalid request; carries the status to return and the identifier to echo."""

    def __init__(self, status: Status, identifier: int) -> None:
        super().__init__(status.value)
        self.status = status
        self.identifier = identifier


class BadResponse(DatagramError):
    """An invalid response; carries the reason for which it is discarded."""

    def __init__(self, reason: DiscardReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Shortage(SMTPStatusError):
    """This machine could not carry out an operation: nothing is known about the server."""

    def __init__(self, resource: Resource, text: str) -> None:
        super().__init__(f"not enough resources to ask: {text}")
        self.resource = resource


class NoReading(SMTPStatusError):
    """A query without a valid response."""

    reason: FailureReason


_REASONS = {
    Status.AUTHENTICATION_FAILED: FailureReason.AUTHENTICATION,
    Status.INVALID_VERSION: FailureReason.VERSION,
    Status.INVALID_COMMAND: FailureReason.COMMAND,
    Status.INVALID_REQUEST: FailureReason.REQUEST,
    Status.SERVER_FAILURE: FailureReason.SERVER,
    Status.NO_TRANSFORM_PROGRAM: FailureReason.SERVER,
    Status.INVALID_SIGNATURE: FailureReason.REQUEST,
}


class Refused(NoReading):
    """The server returned an error status."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"server returned: {status.value}")
        self.status = status
        self.reason = _REASONS[status]


class NoAnswer(NoReading):
    """No datagram arrived before the deadline. `waited` is in seconds."""

    reason = FailureReason.TIMEOUT

    def __init__(self, waited: float, datagrams: int) -> None:
        if datagrams:
            text = f"no answer within {waited:.3g} s to {datagrams} datagrams"
        else:
            text = "deadline expired before a request was sent"
        super().__init__(text)


class InvalidResponses(NoReading):
    """Only invalid datagrams arrived before the deadline."""

    reason = FailureReason.RESPONSE

    def __init__(self, discarded: Mapping[DiscardReason, int]) -> None:
        counts = ", ".join(f"{count} ({reason})" for reason, count in discarded.items())
        super().__init__(f"no valid response: datagrams discarded: {counts}")


class OtherDialect(InvalidResponses):
    """The server speaks another dialect than the one configured for the target."""

    reason = FailureReason.DIALECT

    def __init__(self, configured: str, fitting: tuple[str, ...]) -> None:
        NoReading.__init__(
            self,
            f"server does not speak dialect {configured}: its responses fit {' or '.join(fitting)}",
        )
        self.fitting = fitting


class Unreachable(NoReading):
    """The system reported the destination as unreachable: a closed port, no route, a firewall."""

    reason = FailureReason.UNREACHABLE


class UnknownName(NoReading):
    """The host name has no address."""

    reason = FailureReason.NAME


class ReadbackMismatch(NoReading):
    """The state read back differs from the state set: another client wrote, or the server does not keep it."""

    reason = FailureReason.CONTRADICTION

    def __init__(self, wanted: bool) -> None:
        words = ("off", "on") if wanted else ("on", "off")
        super().__init__(f"transforms read back as {words[0]} after being set {words[1]}")


class InternalError(NoReading):
    """A defect of this program; its log has the traceback."""

    reason = FailureReason.INTERNAL
