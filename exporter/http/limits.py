"""Limits that all HTTP connections share: how many there are, and how many bytes they hold."""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from typing import Protocol

_READ_BUFFER_BYTES = 1 << 14
_IPV6_CLIENT_BITS = 64
"""An IPv6 client is a /64: one subscriber has at least that many addresses."""


class Limited(Protocol):
    """What the limits need to know of a connection."""

    client: tuple[str, int] | None
    buffered: int
    idle_since: float

    @property
    def answering(self) -> bool: ...

    def abort(self) -> None: ...


class ConnectionLimits:
    """Closes connections beyond `most_connections`, and the largest ones beyond `most_buffered_bytes`.

    `idle_timeout_s` is how long a connection stays open between requests, in seconds.
    """

    def __init__(
        self,
        most_connections: int = 1296,
        idle_timeout_s: float = 120.0,
        most_buffered_bytes: int = 1 << 24,
    ) -> None:
        self.most_connections = most_connections
        self.idle_timeout_s = idle_timeout_s
        self.read_buffer = memoryview(bytearray(_READ_BUFFER_BYTES))
        """Where every connection is read: what is kept of it is copied in the same loop step."""
        self.most_buffered_bytes = most_buffered_bytes
        self._connections: dict[Limited, str] = {}
        self._by_client: Counter[str] = Counter()
        self._buffered_bytes = 0

    def __iter__(self) -> Iterator[Limited]:
        return iter(self._connections)

    def admit(self, connection: Limited) -> None:
        """Count a new connection. When there are too many, one of the client that has the most is
        closed: the one that has been idle longest, or the new one where none is idle."""
        client = client_network(connection.client)
        self._connections[connection] = client
        self._by_client[client] += 1
        if len(self._connections) > self.most_connections:
            busiest = max(self._by_client, key=lambda name: self._by_client[name])
            waiting = (
                other
                for other, its_client in self._connections.items()
                if its_client == busiest and not other.answering and other is not connection
            )
            min(waiting, key=lambda other: other.idle_since, default=connection).abort()

    def release(self, connection: Limited) -> None:
        client = self._connections.pop(connection)
        self._buffered_bytes -= connection.buffered
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def account(self, connection: Limited, buffered: int) -> None:
        """Note how many bytes a connection holds; beyond the budget, the one that holds most is closed."""
        self._buffered_bytes += buffered - connection.buffered
        connection.buffered = buffered
        if self._buffered_bytes > self.most_buffered_bytes:
            max(self._connections, key=lambda other: other.buffered).abort()


def client_network(client: tuple[str, int] | None) -> str:
    """What counts as one client: an IPv4 address, an IPv6 /64, or everybody on a Unix socket."""
    if client is None:
        return "unix"
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> _IPV6_CLIENT_BITS << _IPV6_CLIENT_BITS))
    return str(address)
