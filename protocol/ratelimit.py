"""Rate limits per source network: how many errors are answered."""

import socket
from collections import OrderedDict

from smtpstatus.tokenbucket import TokenBucket

_MAPPED = bytes(10) + b"\xff\xff"
"""How IPv4-mapped addresses begin (RFC 4291 2.5.5.2)."""


def network_of(host: str) -> str:
    """Returns the network that an address counts as: an IPv4 address itself, the /64 of an IPv6 address.

    One subscriber has a /64, so a limit per IPv6 address would have no effect. IPv4-mapped addresses
    (`::ffff:192.0.2.1`) count as IPv4. Any other text is returned as it is.
    """
    if ":" not in host:
        return host
    try:
        octets = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return host
    if octets.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, octets[12:])
    return f"{socket.inet_ntop(socket.AF_INET6, octets[:8] + bytes(8))}/64"


class ErrorRateLimiter:
    """Limits error responses by source network, with a token bucket per network (protocol.md 6.1).

    An error response has the size and signature of a request, so two servers, or one and itself, could answer each
    other's "authentication failed" for ever. After `burst` errors, and then more than `per_second`, a source is not
    answered, which ends such a loop. Requests with the right token are always answered. The table holds the
    `sources` networks seen last.
    """

    def __init__(self, burst: float = 40, per_second: float = 1, sources: int = 4096) -> None:
        self._burst = burst
        self._per_second = per_second
        self._sources = sources
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, source: str, now: float) -> bool:
        """Whether `source`, a numeric address, is sent another error at `now`, seconds of a monotonic clock."""
        network = network_of(source)
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = TokenBucket(self._burst, self._per_second, now)
            if len(self._buckets) > self._sources:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(network)
        return bucket.take(now)
