"""When a message fits, and how often the free space is measured."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from reference_server.diskspace import DiskSpace

MIB = 1024 * 1024


class Disk:
    """A file system, and how often it was measured."""

    def __init__(self) -> None:
        self.free: int | OSError = 0
        self.measured = 0

    def statvfs(self, path: Path) -> SimpleNamespace:
        self.measured += 1
        if isinstance(self.free, OSError):
            raise self.free
        return SimpleNamespace(f_bavail=self.free // 512, f_frsize=512)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(os, "statvfs", found.statvfs)
    return found


async def fits(disk: Disk, free: int | OSError, octets: int) -> bool:
    disk.free = free
    space = DiskSpace(Path("/"))
    try:
        return space.fits(octets)
    finally:
        await space.aclose()


async def test_a_message_fits_if_twice_its_size_and_1_mib_are_free(disk: Disk) -> None:
    assert await fits(disk, 3 * MIB, MIB)
    assert not await fits(disk, 3 * MIB, MIB + 1)
    assert await fits(disk, MIB, 0)
    assert not await fits(disk, MIB - 512, 0)


async def test_every_message_fits_where_the_space_cannot_be_measured(disk: Disk) -> None:
    assert await fits(disk, OSError("no"), 1 << 60)


async def test_the_space_is_measured_once_a_second(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    second = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await second.wait()
        second.clear()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    space = DiskSpace(Path("/"))
    disk.free = MIB
    async with asyncio.timeout(5):
        second.set()
        while len(slept) < 2:
            await asyncio.wait([asyncio.ensure_future(second.wait())], timeout=0.01)

    assert (slept, disk.measured, space.free) == ([1.0, 1.0], 2, MIB)
    await space.aclose()
