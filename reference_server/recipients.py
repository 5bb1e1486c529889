"""Decides which recipients are accepted, so that the server is not an open relay."""

from collections.abc import Callable, Set

from reference_server.address import Address, comparable_domain
from reference_server.mailboxes import Mailboxes
from reference_server.reply import Reply

_RELAYING = Reply(550, "5.7.1", "Relay access denied")
_UNKNOWN = Reply(550, "5.1.1", "User unknown")

Refusal = Callable[[Address], Reply | None]
"""Returns the reply to RCPT for a recipient that is not accepted, None for one that is."""


def local_recipients(domains: Set[str], mailboxes: Mailboxes | None = None) -> Refusal:
    """Accepts the users of `mailboxes` in `domains`."""
    users = mailboxes or Mailboxes()
    own = {comparable_domain(domain) for domain in domains}

    def refusal(recipient: Address) -> Reply | None:
        # Without a domain it is <postmaster>, which every server has.
        if recipient.domain and comparable_domain(recipient.domain) not in own:
            return _RELAYING
        return None if users.directory(recipient) else _UNKNOWN

    return refusal


def relayed_recipients(may_relay: bool) -> Refusal:
    """Accepts every recipient from a client that may relay, and none from any other."""
    return lambda recipient: None if may_relay else _RELAYING
