"""Round-trip time estimation (RFC 6298)."""

_GRANULARITY_S = 0.005
"""The clock granularity G of RFC 6298: that of a busy event loop."""

_MIN_TIMEOUT_S = 0.1
"""Tolerates a busy server on a fast network: a retransmission is not free."""

_INITIAL_TIMEOUT_S = 0.25
"""Before the first sample. RFC 6298 says 1 s, for bulk transfers; here the deadline is a few seconds away."""


class RoundTrip:
    """The smoothed round-trip time of one target and its variation, in seconds; None before the first sample."""

    __slots__ = ("smoothed", "variation")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0

    def observe(self, sample: float) -> None:
        """Updates the estimate with the sample of a request that was transmitted once (Karn's rule)."""
        if self.smoothed is None:
            self.smoothed = sample
            self.variation = sample / 2
        else:
            self.variation += (abs(self.smoothed - sample) - self.variation) / 4
            self.smoothed += (sample - self.smoothed) / 8

    @property
    def timeout(self) -> float:
        """Seconds after which a datagram counts as lost."""
        if self.smoothed is None:
            return _INITIAL_TIMEOUT_S
        return max(_MIN_TIMEOUT_S, self.smoothed + max(_GRANULARITY_S, 4 * self.variation))
