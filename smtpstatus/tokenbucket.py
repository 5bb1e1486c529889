"""A token bucket: `burst` events immediately, then `per_second`."""


class TokenBucket:
    """Starts full. Times are seconds of any one clock that does not go back."""

    __slots__ = ("_burst", "_per_second", "_since", "_tokens")

    def __init__(self, burst: float, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._tokens = burst
        self._since = now

    def take(self, now: float) -> bool:
        """Take one token if there is one; returns whether there was."""
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._per_second)
        self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
