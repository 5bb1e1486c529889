"""What a client has said so far: its greeting, and the mail transaction under way (RFC 5321 3.3)."""

from dataclasses import dataclass, field

from reference_server.address import Address
from reference_server.event import Envelope


@dataclass(frozen=True, slots=True)
class Hello:
    """The client's greeting: the name it gave, and whether it was EHLO."""

    name: str
    extended: bool


@dataclass(slots=True)
class Transaction:
    """A mail transaction (RFC 5321 3.3): what MAIL and RCPT have given so far."""

    sender: Address | None
    smtputf8: bool
    recipients: dict[Address, None] = field(default_factory=dict)

    def envelope(self, hello: Hello) -> Envelope:
        protocol = "UTF8SMTP" if self.smtputf8 else "ESMTP" if hello.extended else "SMTP"
        return Envelope(self.sender, tuple(self.recipients), hello.name, protocol)
