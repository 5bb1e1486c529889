"""What a listening socket offers to one client: SMTP or LMTP, which recipients, which extensions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reference_server.address import Address
from reference_server.relay.xforward import ATTRIBUTES
from reference_server.reply import Reply

NOT_OFFERED: Final = frozenset(
    {"ATRN", "AUTH", "BURL", "ETRN", "EXPN", "SAML", "SEND", "SOML", "STARTTLS", "TURN"}
)
NEVER_SMTP: Final = frozenset(
    # BDAT's octets follow at once and would be read as commands; the others are a browser's.
    {"BDAT", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
)


@dataclass(frozen=True, slots=True)
class Service:
    """`refusal` returns the reply to RCPT for a recipient that is not accepted, None for one that is.

    `has_room` returns whether a message of so many octets fits. LMTP (RFC 2033) has LHLO instead of
    HELO and EHLO, and one reply per recipient after the content.
    """

    hostname: str
    refusal: Callable[[Address], Reply | None]
    has_room: Callable[[int], bool]
    lmtp: bool = False
    xforward: bool = False

    @property
    def greeting(self) -> Reply:
        return Reply(220, "", f"{self.hostname} {'LMTP' if self.lmtp else 'ESMTP'} smtpstatus")

    @property
    def hello_verbs(self) -> tuple[str, ...]:
        return ("LHLO",) if self.lmtp else ("EHLO", "HELO")

    @property
    def help(self) -> Reply:
        others = "MAIL RCPT DATA RSET NOOP VRFY HELP QUIT"
        xforward = " XFORWARD" if self.xforward else ""
        return Reply(214, "2.0.0", f"Commands: {' '.join(self.hello_verbs)} {others}{xforward}")

    def hello(self, extended: bool, message_size: int) -> Reply:
        """The reply to HELO, EHLO or LHLO; the last two are `extended`."""
        offers = (
            "PIPELINING",
            f"SIZE {message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            *((f"XFORWARD {' '.join(ATTRIBUTES)}",) if self.xforward else ()),
            "HELP",
        )
        return Reply(250, "", "\n".join((self.hostname, *(offers if extended else ()))))
