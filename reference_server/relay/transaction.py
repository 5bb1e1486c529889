"""One message for a next hop, and the commands that hand it over (RFC 5321 3.3)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from reference_server.address import Address
from reference_server.relay.content import Measure
from reference_server.relay.extensions import Extensions
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import Reply, too_large

_NO_8BITMIME = Reply(
    554, "5.6.3", "Message has 8-bit content; the next hop does not offer 8BITMIME"
)
_NO_SMTPUTF8 = Reply(554, "5.6.7", "Message needs SMTPUTF8, which the next hop does not offer")


def rcpt(recipient: Address) -> str:
    """Returns the RCPT command for a recipient, without its line end."""
    return f"RCPT TO:<{recipient}>"


@dataclass(frozen=True, slots=True)
class Transaction:
    """A message's envelope and what is known of its content; the content itself is transferred apart."""

    sender: Address | None
    """None is the null sender."""
    recipients: tuple[Address, ...]
    measure: Measure | None
    """None while the content is not known: recipients are then asked for one by one, before it."""
    smtputf8: bool = False
    """Whether the client that sent the message stated SMTPUTF8."""
    client: OriginalClient = field(default_factory=OriginalClient)

    def refusal(self, extensions: Extensions) -> Reply | None:
        """Returns why a server with these extensions cannot take the message unchanged, or None."""
        if self._needs_smtputf8 and not extensions.smtputf8:
            return _NO_SMTPUTF8
        if self.measure is None:
            return None
        if self.measure.eight_bit and not extensions.eight_bit_mime:
            return _NO_8BITMIME
        if extensions.size_limit and self.measure.size > extensions.size_limit:
            return too_large(extensions.size_limit)
        return None

    def xforward(self, extensions: Extensions) -> Iterator[str]:
        """Yields the XFORWARD commands that precede MAIL, without line ends."""
        return self.client.commands(extensions.xforward)

    def mail(self, extensions: Extensions) -> str:
        """Returns the MAIL command, without its line end."""
        words = [f"MAIL FROM:<{self.sender or ''}>"]
        if extensions.size and self.measure:
            words.append(f"SIZE={self.measure.size}")
        if extensions.eight_bit_mime:
            # Of content that is not known yet, 8BITMIME is always true (RFC 6152 3).
            eight_bit = self.measure is None or self.measure.eight_bit
            words.append(f"BODY={'8BITMIME' if eight_bit else '7BIT'}")
        if self._states_smtputf8(extensions):
            words.append("SMTPUTF8")
        return " ".join(words)

    @property
    def _needs_smtputf8(self) -> bool:
        addresses = filter(None, (self.sender, *self.recipients))
        if not all(str(address).isascii() for address in addresses):
            return True
        return self.smtputf8 and self.measure is not None and self.measure.eight_bit_header

    def _states_smtputf8(self, extensions: Extensions) -> bool:
        return self._needs_smtputf8 or (self.smtputf8 and extensions.smtputf8)
