"""Randomness for very many draws: identifiers that cannot be guessed, and jitter that need not be."""

import os
from random import Random

_MANY = 4096
"""Bytes fetched from the system at once: a system call for each draw would cost more than asking does."""


class PooledRandom(Random):
    """`randbytes` hands out the system's randomness; all else is Python's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self._octets, self._at = b"", 0

    def randbytes(self, n: int) -> bytes:
        if self._at + n > len(self._octets):
            self._octets, self._at = os.urandom(max(n, _MANY)), 0
        self._at += n
        return self._octets[self._at - n : self._at]
