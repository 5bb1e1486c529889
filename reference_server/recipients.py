"""Which recipients are accepted; to accept any other would be relaying."""

from collections.abc import Callable, Set

from reference_server.address import Address


def recipients_in(domains: Set[str]) -> Callable[[Address], bool]:
    """Accepts every local part in `domains`, which are written in small letters."""

    def accepts(recipient: Address) -> bool:
        # Without a domain it is <postmaster>, which every server has.
        return not recipient.domain or recipient.domain.lower() in domains

    return accepts
