"""Pending table, as in DNS resolvers: (address, identifier) → query.

Entries of finished queries stay as long as the sockets, so that late answers are recognised and counted.
"""

from collections import defaultdict
from collections.abc import Sequence

from protocol.address import Address
from protocol.dialect import Dialect
from protocol.query import Query


class _Asked:
    """Queries sent to one address."""

    __slots__ = ("latest", "queries")

    def __init__(self) -> None:
        self.queries: dict[bytes, Query] = {}
        self.latest: dict[int, Query] = {}
        """The latest query in each dialect; its dialect has the position of identifiers."""


class PendingTable:
    """Queries sent from one set of sockets."""

    def __init__(self) -> None:
        self._asked: defaultdict[Address, _Asked] = defaultdict(_Asked)

    def has_room(
        self, dialect: Dialect, addresses: tuple[Address, ...], identifiers: Sequence[bytes]
    ) -> bool:
        """Whether responses to these identifiers can be distinguished from all others of these addresses."""
        if len(set(identifiers)) < len(identifiers):
            return False
        for address in addresses:
            asked = self._asked[address]
            if not asked.queries.keys().isdisjoint(identifiers):
                return False
            if not dialect.matches_responses and not all(
                query.dialect.matches_responses for query in asked.latest.values()
            ):
                return False  # an error does not identify the request that it answers
        return True

    def add(self, query: Query, identifiers: Sequence[bytes]) -> None:
        for address in query.addresses:
            asked = self._asked[address]
            for identifier in identifiers:
                asked.queries[identifier] = query
            asked.latest[id(query.dialect)] = query

    def find(self, datagram: bytes, address: Address, *, request: bool = False) -> Query | None:
        """The query of a datagram to or from an address: by its identifier, else the latest query there.

        Of the latest in several dialects it is one whose errors have no identifier: only those are expected.
        """
        asked = self._asked.get(address)
        if asked is None:
            return None
        for latest in asked.latest.values():
            dialect = latest.dialect
            place = dialect.request_identifier if request else dialect.response_identifier
            if query := asked.queries.get(datagram[place.span]):
                return query
        return max(asked.latest.values(), key=_has_anonymous_errors, default=None)


def _has_anonymous_errors(query: Query) -> bool:
    return not query.dialect.matches_responses
