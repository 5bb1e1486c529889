"""Users with a Maildir."""

from collections.abc import Iterable

from reference_server.address import Address

_POSTMASTER = "postmaster"


class Mailboxes:
    """The users of all domains, case-insensitive. Without users and a catch-all, every local part is one."""

    def __init__(self, users: Iterable[str] = (), catch_all: str | None = None) -> None:
        # RFC 5321 4.5.1: every server has a postmaster.
        self._names = {_directory(name) for name in (*users, _POSTMASTER)}
        self._everybody = not tuple(users) and catch_all is None
        self._catch_all = None if catch_all is None else _directory(catch_all)

    def directory(self, recipient: Address) -> str | None:
        """Returns the name of the recipient's Maildir, None for an unknown user."""
        name = recipient.directory
        return name if self._everybody or name in self._names else self._catch_all


def _directory(local: str) -> str:
    return Address(local, "").directory
