"""What a listening socket offers to one client: SMTP or LMTP, which recipients, which extensions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reference_server.address import Address
from reference_server.command import CommandError, Line
from reference_server.event import Envelope
from reference_server.relay.live import LiveTransaction
from reference_server.relay.xforward import ATTRIBUTES, OriginalClient
from reference_server.reply import FULL, Reply, too_large

NOT_OFFERED: Final = frozenset(
    {"ATRN", "AUTH", "BURL", "ETRN", "EXPN", "SAML", "SEND", "SOML", "STARTTLS", "TURN"}
)
NEVER_SMTP: Final = frozenset(
    # BDAT's octets follow immediately and would be parsed as commands; the others are a browser's.
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
    live: Callable[[Envelope], LiveTransaction] | None = None
    """Starts a message whose recipients the destination decides one by one; `refusal` is asked first."""
    xforward: bool = False

    @property
    def greeting(self) -> Reply:
        return Reply(220, "", f"{self.hostname} {'LMTP' if self.lmtp else 'ESMTP'} smtpstatus")

    @property
    def hello_verbs(self) -> tuple[str, ...]:
        return ("LHLO",) if self.lmtp else ("EHLO", "HELO")

    @property
    def hello_required(self) -> Reply:
        verbs = "/".join(reversed(self.hello_verbs))
        return Reply(503, "5.5.1", f"Error: send {verbs} first")

    @property
    def help(self) -> Reply:
        others = "MAIL RCPT DATA RSET NOOP VRFY HELP QUIT"
        xforward = " XFORWARD" if self.xforward else ""
        return Reply(214, "2.0.0", f"Commands: {' '.join(self.hello_verbs)} {others}{xforward}")

    def check_size(self, octets: int, limit: int) -> None:
        """Raises `CommandError` for a message that MAIL states as too large (RFC 1870 6.1)."""
        if octets > limit:
            raise CommandError(too_large(limit))
        if not self.has_room(octets):
            raise CommandError(FULL)  # before the client sends it all

    def original_client(self, parameters: str, known: OriginalClient | None) -> OriginalClient:
        """Adds what XFORWARD states to what is known. Raises `CommandError`."""
        try:
            return (known or OriginalClient()).updated(parameters)
        except ValueError as error:
            raise CommandError(Reply(501, "5.5.4", f"Bad XFORWARD syntax: {error}")) from None

    def verify(self, line: Line) -> Reply:
        """The reply to VRFY, which never says whether a user exists. Raises `CommandError`."""
        if not line.argument:
            raise CommandError(Reply(501, "5.5.4", "Syntax: VRFY address"))
        text = "Cannot VRFY user, but will accept message and attempt delivery"
        return Reply(252, "2.5.2", text)

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
