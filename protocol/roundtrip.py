"""How long an answer takes to come, learned from those that came (RFC 6298)."""

_GRANULARITY = 0.005
"""Seconds: no more exact than an event loop with other work to do."""

_SHORTEST = 0.1
"""Seconds: a busy server on a fast network is late now and then, and a datagram too many is not free."""

_UNKNOWN = 0.25
"""Seconds for a target never heard of. RFC 6298 says 1, for bulk transfers; here a deadline of a few seconds waits."""


class RoundTrip:
    """The smoothed round-trip time of one target and its variation, in seconds; None before the first sample."""

    __slots__ = ("smoothed", "variation")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0

    def observe(self, sample: float) -> None:
        """Learn from an exchange in which it is clear which datagram was answered (Karn's rule)."""
        if self.smoothed is None:
            self.smoothed = sample
            self.variation = sample / 2
        else:
            self.variation += (abs(self.smoothed - sample) - self.variation) / 4
            self.smoothed += (sample - self.smoothed) / 8

    @property
    def timeout(self) -> float:
        """Seconds after which a datagram is taken for lost."""
        if self.smoothed is None:
            return _UNKNOWN
        return max(_SHORTEST, self.smoothed + max(_GRANULARITY, 4 * self.variation))
