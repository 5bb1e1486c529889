"""Passwords against bcrypt hashes, so that guessing costs one processor at most, and others little time."""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import bcrypt

from exporter.http.problem import Problem
from exporter.singleflight import SingleFlight

_BCRYPT_READS = 72
"""bcrypt reads no further; programs that make hashes cut a longer password here, and so do we."""


class Passwords:
    """Compares passwords with bcrypt hashes: in a thread, one at a time, and the good ones once only.

    A comparison that nobody waits for any longer is dropped, if it has not begun.
    """

    def __init__(self, remembered: int = 128, waiting: int = 16) -> None:
        self._remembered = remembered
        self._waiting = waiting
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "password")
        self._comparisons = SingleFlight[bool]()

    def __len__(self) -> int:
        return len(self._good)

    async def fit(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
        """Whether the password is the user's. An unknown user takes as long as a wrong password.

        Raises `Problem` at once when too many other ones are being compared.
        """
        known = user in users
        digest = users[user] if known else next(iter(users.values()))
        # `known` is part of it: a user who was taken out must not be taken for the one compared instead.
        entry = self._entry(known, user, digest, password)
        if entry not in self._good and not (
            await self._compared(entry, password, digest) and known
        ):
            return False
        self._good[entry] = None
        self._good.move_to_end(entry)
        if len(self._good) > self._remembered:
            self._good.popitem(last=False)
        return True

    async def _compared(self, entry: bytes, password: bytes, digest: bytes) -> bool:
        if len(self._comparisons) >= self._waiting and entry not in self._comparisons:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._waiting} passwords are being compared: ask later",
                {"Retry-After": "1"},
            )

        async def compare() -> bool:
            loop = asyncio.get_running_loop()
            octets = password[:_BCRYPT_READS]
            return await loop.run_in_executor(self._thread, bcrypt.checkpw, octets, digest)

        return await self._comparisons.join(entry, 0.0, compare)

    def _entry(self, *facts: object) -> bytes:
        return hashlib.blake2b(repr(facts).encode(), key=self._key).digest()
