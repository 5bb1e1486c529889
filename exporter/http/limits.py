"""Limits that HTTP requests and connections share."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from typing import Protocol

_READ_BUFFER_BYTES = 1 << 14
_BYTES_EACH = 2048
"""What a connection may hold beyond the common budget: a scraper's request takes 1,500."""
_IPV6_CLIENT_BITS = 64
"""An IPv6 client is a /64: one subscriber has at least that many addresses."""


ABORT = "smtpstatus.abort"
"""Key of a request's scope: a function that closes its connection."""


class TooManyRequests(Exception):
    """A limit is reached."""


class WorkingRequest:
    """A request that works; `abort` closes its connection."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self.abort = abort
        self.sent_at: float | None = None
        """When the client had read all but the last piece of the response; None before the response begins."""


class RequestLimits:
    """Bounds the requests that work, and apart from them those that only wait for servers.

    `most_working` 0 means any number. `most_waiting` is called for each request.
    """

    stalled_after_s = 0.25
    """Seconds after which a response that its client does not read may be aborted for another request."""

    def __init__(self, most_working: int, most_waiting: Callable[[], int]) -> None:
        self._most_working = most_working
        self._most_waiting = most_waiting
        self._working: set[WorkingRequest] = set()
        self._waiting: dict[Hashable, int] = {}
        """Number of requests for each reading."""

    @property
    def in_flight(self) -> int:
        """Requests that work or wait."""
        return len(self._working) + sum(self._waiting.values())

    @contextmanager
    def waiting(self, reading: Hashable) -> Iterator[None]:
        """Wait for servers within the block; requests for the same reading count as one.

        Raises `TooManyRequests`, also when too many requests work.
        """
        self._check_working()
        if reading not in self._waiting and len(self._waiting) >= self._most_waiting():
            raise TooManyRequests(
                f"{len(self._waiting)} readings are in progress, as many as --web.max-waiting allows"
            )
        self._waiting[reading] = self._waiting.get(reading, 0) + 1
        try:
            yield
        finally:
            self._waiting[reading] -= 1
            if not self._waiting[reading]:
                del self._waiting[reading]

    @contextmanager
    def working(self, abort: Callable[[], None] = lambda: None) -> Iterator[WorkingRequest]:
        """Work within the block. Raises `TooManyRequests`."""
        self._check_working()
        request = WorkingRequest(abort)
        self._working.add(request)
        try:
            yield request
        finally:
            self._working.discard(request)

    def _check_working(self) -> None:
        """When too many requests work, aborts the response that its client has not read for longest.

        Raises `TooManyRequests` where none is stalled.
        """
        if not self._most_working or len(self._working) < self._most_working:
            return
        unread = [(found.sent_at, found) for found in self._working if found.sent_at is not None]
        since, longest = min(unread, key=lambda entry: entry[0], default=(math.inf, None))
        if longest is None or time.monotonic() - since < self.stalled_after_s:
            raise TooManyRequests(
                f"{len(self._working)} requests are in progress, as many as --web.max-requests allows"
            )
        self._working.remove(longest)
        longest.abort()


class Limited(Protocol):
    """State of a connection that the limits use."""

    client: tuple[str, int] | None
    buffered: int
    idle_since: float

    @property
    def answering(self) -> bool: ...

    def abort(self) -> None: ...


class ConnectionLimits:
    """Closes connections beyond `most_connections`, and the largest ones beyond `most_buffered_bytes`.

    `most_connections` is called for each new connection. `idle_timeout_s` is how long a connection
    stays open between requests, in seconds.
    """

    def __init__(
        self,
        most_connections: Callable[[], int] = lambda: 1296,
        idle_timeout_s: float = 360.0,
        most_buffered_bytes: int = 1 << 23,
    ) -> None:
        self.most_connections = most_connections
        self.idle_timeout_s = idle_timeout_s
        self.read_buffer = memoryview(bytearray(_READ_BUFFER_BYTES))
        """Read buffer of all connections; data to keep is copied in the same callback."""
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
        if len(self._connections) > self.most_connections():
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
            budget = self.most_buffered_bytes + _BYTES_EACH * self.most_connections()
            if self._buffered_bytes > budget:
                largest = max(self._connections, key=lambda other: other.buffered)
                # Its end is noticed later; the next largest must go meanwhile.
                self._buffered_bytes -= largest.buffered
                largest.buffered = 0
                largest.abort()


def client_network(client: tuple[str, int] | None) -> str:
    """Key of a client: an IPv4 address, an IPv6 /64, or all clients of a Unix socket."""
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


class LogLimit:
    """Allows one log line per client and minute, and counts the others."""

    def __init__(self, interval_s: float = 60.0, most_clients: int = 1024) -> None:
        self._interval_s = interval_s
        self._most_clients = most_clients
        self._logged: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When a client's last line was logged, and how many were left out since."""

    def repeated(self, client: str, now: float) -> int | None:
        """Number of the client's lines suppressed before this one; None if this one is suppressed, too."""
        last, left_out = self._logged.get(client, (now - self._interval_s, 0))
        if now - last < self._interval_s:
            self._logged[client] = (last, left_out + 1)
            return None
        self._logged[client] = (now, 0)
        self._logged.move_to_end(client)
        if len(self._logged) > self._most_clients:
            self._logged.popitem(last=False)
        return left_out
