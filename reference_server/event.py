"""Events of a session: what its caller has to do."""

from dataclasses import dataclass

from reference_server.address import Address
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import Reply


@dataclass(frozen=True, slots=True)
class Envelope:
    """The envelope of a message. The sender is None for the null sender; `protocol` as Received has it (RFC 3848)."""

    sender: Address | None
    recipients: tuple[Address, ...]
    helo: str
    protocol: str
    smtputf8: bool = False
    """Whether MAIL stated SMTPUTF8."""
    original_client: OriginalClient | None = None
    """What the client said by XFORWARD, if it did."""


@dataclass(frozen=True, slots=True)
class RecipientOffered:
    """The destination decides on the envelope's only recipient; the session waits for `answer_recipient`."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """A mail transaction ended without a message, after a recipient was offered."""


@dataclass(frozen=True, slots=True)
class Started:
    """DATA was accepted: the message's content follows."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of the message."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """The message has ended and waits for `answer`."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The message was rejected, and that has been replied: drop what came of it."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command was rejected, and that has been replied. `sender` counts within a `transaction` only."""

    command: str
    reply: Reply
    helo: str
    transaction: bool
    sender: Address | None


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing more is read: send the replies and close."""


Event = (
    RecipientOffered
    | TransactionEnded
    | Started
    | Content
    | Complete
    | Abandoned
    | Rejected
    | Closed
)
