"""Random identifiers that cannot be guessed, and jitter."""

import os

_POOL_BYTES = 4096
"""Bytes fetched from the system in one call: a system call per identifier would cost more than the identifier."""


class Entropy:
    """Pool of random bytes, fetched from the system in blocks."""

    def __init__(self) -> None:
        self._pool, self._used = b"", 0

    def octets(self, count: int) -> bytes:
        """Returns `count` bytes that were never returned before."""
        if self._used + count > len(self._pool):
            self._pool, self._used = os.urandom(max(count, _POOL_BYTES)), 0
        self._used += count
        return self._pool[self._used - count : self._used]

    def jitter(self) -> float:
        """Returns a factor between 0.9 and 1.1."""
        return 0.9 + self.octets(1)[0] / 1275
