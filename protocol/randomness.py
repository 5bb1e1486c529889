"""The system's randomness, for hundreds of draws in one system call."""

import os
from random import SystemRandom

_MANY = 4096
"""Bytes fetched at once."""


class PooledRandom(SystemRandom):
    """As unpredictable as `SystemRandom`, at a fraction of its cost."""

    def __init__(self) -> None:
        super().__init__()
        self._octets, self._at = b"", 0

    def randbytes(self, n: int) -> bytes:
        if self._at + n > len(self._octets):
            self._octets, self._at = os.urandom(max(n, _MANY)), 0
        self._at += n
        return self._octets[self._at - n : self._at]

    def random(self) -> float:
        return int.from_bytes(self.randbytes(6)) / (1 << 48)
