"""What a client has said so far: its greeting, and the mail transaction under way (RFC 5321 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reference_server.address import Address
from reference_server.event import Envelope, RecipientOffered
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import Reply


@dataclass(frozen=True, slots=True)
class Hello:
    """The client's greeting: the name it gave, and the verb: HELO, EHLO or LHLO."""

    name: str
    verb: str

    def protocol(self, smtputf8: bool) -> str:
        """The name for Received (RFC 3848, RFC 6531 4.3)."""
        plain = {"EHLO": "ESMTP", "LHLO": "LMTP"}.get(self.verb, "SMTP")
        extended = {"EHLO": "UTF8SMTP", "LHLO": "UTF8LMTP"}
        return extended.get(self.verb, plain) if smtputf8 else plain


@dataclass(slots=True)
class Transaction:
    """A mail transaction (RFC 5321 3.3): what MAIL and RCPT have given so far."""

    hello: Hello
    sender: Address | None
    smtputf8: bool
    original_client: OriginalClient | None = None
    recipients: dict[Address, None] = field(default_factory=dict)
    accepted: list[Address] = field(default_factory=list)
    """The recipient of each RCPT that was accepted: LMTP replies to each, also to repeated ones (RFC 2033 4.2)."""

    offered: Address | None = None
    """The recipient that the destination is deciding on, and after its reply the last one."""

    def add(self, recipient: Address) -> None:
        self.recipients[recipient] = None
        self.accepted.append(recipient)

    def offer(self, recipient: Address) -> RecipientOffered:
        """Leaves the recipient to the destination."""
        self.offered = recipient
        return RecipientOffered(replace(self.envelope(), recipients=(recipient,)))

    def envelope(self) -> Envelope:
        return Envelope(
            self.sender,
            tuple(self.recipients),
            self.hello.name,
            self.hello.protocol(self.smtputf8),
            self.smtputf8,
            self.original_client,
        )

    def replies(self, replies: Sequence[Reply]) -> list[Reply]:
        """From one reply per recipient of the envelope to one per accepted RCPT."""
        outcome = dict(zip(self.recipients, replies, strict=True))
        return [outcome[recipient] for recipient in self.accepted]
