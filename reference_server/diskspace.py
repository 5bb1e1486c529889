"""Free space of a file system, measured outside the event loop."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

_PERIOD_S = 1.0
"""Seconds between two measurements. A slow file system delays the next one, and nothing else."""

_RESERVE = 1024 * 1024
"""Octets kept free for names, directories and small messages in progress."""


class DiskSpace:
    """The free octets of the file system of `directory`, measured in a thread once a second."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.free = self._measure()
        """Octets, at the last measurement."""
        self._measuring = asyncio.create_task(self._measure_periodically(), name="disk space")

    def fits(self, octets: int) -> bool:
        """Whether a message of this size fits: a hint, since space is used only when it is stored."""
        # Twice: a large message stays in its spool until it has been copied into the Maildir.
        return 2 * octets + _RESERVE <= self.free

    async def aclose(self) -> None:
        self._measuring.cancel()
        with suppress(asyncio.CancelledError):
            await self._measuring

    def _measure(self) -> float:
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return float("inf")  # storing a message will report what is wrong
        return disk.f_bavail * disk.f_frsize

    async def _measure_periodically(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            self.free = await asyncio.to_thread(self._measure)
