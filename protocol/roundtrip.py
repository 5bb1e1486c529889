"""Round-trip time estimation (RFC 6298) and retransmission times."""

from math import pow, sqrt

_GRANULARITY_S = 0.005
"""The clock granularity G of RFC 6298: that of a busy event loop."""

_MIN_TIMEOUT_S = 0.1
"""Minimum retransmission timeout, for busy servers on a fast network."""

_INITIAL_TIMEOUT_S = 0.25
"""Timeout before the first sample. RFC 6298 has 1 s, for bulk transfers; here the deadline is a few seconds away."""

_LAST_ATTEMPT = 2 / 3
"""Share of the time budget after which the last attempt is made, so that an outage until then is survived."""


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


def transmission_time(attempt: int, timeout: float, attempts: int, budget: float) -> float:
    """Returns the time of an attempt (0 is the first of `attempts`) in seconds, within `budget` seconds.

    The second attempt follows after `timeout`, the last at two thirds of the budget, and those between them at
    growing intervals: a lost datagram is soon replaced, and an outage of half the budget is survived. A budget that
    is too short for that is divided evenly. Of two attempts the second is made in the middle, on a logarithmic scale.
    """
    last = budget * _LAST_ATTEMPT
    if attempt == 0:
        return 0.0
    if attempts == 2:
        return sqrt(min(timeout, last) * last)
    first = min(timeout, last / (attempts - 1))
    if attempt == 1:
        return first
    return first * pow(last / first, (attempt - 1) / (attempts - 2))
