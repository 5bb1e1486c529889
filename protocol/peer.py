"""Server to query, with what was learned about the way to it."""

from protocol.address import Address, HostPort, numeric
from protocol.dialect import Dialect
from protocol.dialects import V0
from protocol.reading import Reading
from protocol.roundtrip import RoundTrip
from protocol.token import Token


class Peer:
    """Server to query, and its round-trip time estimate. Kept as long as the server is configured."""

    __slots__ = ("dialect", "numeric", "preferred", "round_trip", "token", "where")

    def __init__(self, where: HostPort, token: Token, dialect: Dialect = V0) -> None:
        self.where = where
        self.token = token
        self.dialect = dialect
        self.round_trip = RoundTrip()
        self.numeric = numeric(where)
        """Its address if `where` is numeric; a name is looked up for every operation."""
        self.preferred: Address | None = None
        """The address that answered last; it is queried first as long as the name resolves to it."""

    def ordered(self, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        """Returns the addresses in the order in which they are queried."""
        if len(addresses) == 1:
            return addresses
        return tuple(sorted(addresses, key=lambda address: address != self.preferred))

    def learn(self, reading: Reading) -> None:
        """Updates the round-trip time estimate from a reading, one sample per round trip (RFC 6298)."""
        if reading.cost.round_trips:
            self.round_trip.observe(reading.cost.round_trips[0])
        if reading.server:
            self.preferred = reading.server
