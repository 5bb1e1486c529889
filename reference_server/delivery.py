"""A message into Maildirs, so that 250 may be said: on stable storage, data and names, in all of them or in none.

Per message: write to tmp, fsync, link into every further `new`, rename into the first one. Then fsync every `new`:
one pass serves all messages that were renamed before it began (group commit). An fsync that failed is never
repeated, since a second one may succeed with the data lost.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

from reference_server.spool import Spool

logger = logging.getLogger(__name__)

_STALE = 36 * 3600
"""Seconds after which a file in tmp belongs to nobody any more, as Maildir prescribes."""

_WRITERS = 4
"""Threads that write at once: disks like several requests at a time, Python likes few threads."""


class Maildirs:
    """One Maildir per user under `root`. Errors are `OSError`s; then nothing of the message is in any `new`."""

    def __init__(self, root: Path, hostname: str) -> None:
        self.root = root
        self._hostname = hostname.replace("/", "\\057").replace(":", "\\072")
        self._numbers = count(1)
        self._created: set[str] = set()
        self._creating = threading.Lock()
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="delivery")
        self._committing = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._renamed: set[Path] = set()

    async def deliver(self, users: Sequence[str], head: bytes, spool: Spool) -> None:
        """Store `head` and the spool's content for every user; durable when it returns."""
        loop = asyncio.get_running_loop()
        files = await loop.run_in_executor(self._writers, self._write, users, head, spool)
        try:
            await self._commit({file.parent for file in files})
        except OSError:
            await loop.run_in_executor(self._writers, _remove, files)
            raise

    def clear_stale(self) -> int:
        """Remove what has been in any tmp for 36 hours; returns how many files."""
        removed = 0
        oldest = time.time() - _STALE
        for file in self.root.glob("*/tmp/*"):
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < oldest:
                    file.unlink()
                    removed += 1
        return removed

    def close(self) -> None:
        self._writers.shutdown()

    def _write(self, users: Sequence[str], head: bytes, spool: Spool) -> list[Path]:
        name = self._unique_name()
        try:
            return self._store(users, name, head, spool)
        except FileNotFoundError:
            # Somebody removed a Maildir under us: make it again, and try once more.
            self._created.difference_update(users)
            return self._store(users, name, head, spool)

    def _store(self, users: Sequence[str], name: str, head: bytes, spool: Spool) -> list[Path]:
        for user in users:
            self._create(user)
        temporary = self.root / users[0] / "tmp" / name
        files = [self.root / user / "new" / name for user in users]
        made: list[Path] = [temporary]
        try:
            _write_durably(temporary, head, spool)
            for file in files[1:]:
                os.link(temporary, file)
                made.append(file)
            temporary.rename(files[0])
        except OSError:
            _remove(made)
            raise
        return files

    def _create(self, user: str) -> None:
        if user in self._created:
            return
        with self._creating:
            maildir = self.root / user
            maildir.mkdir(mode=0o700, exist_ok=True)
            for part in ("tmp", "new", "cur"):
                (maildir / part).mkdir(mode=0o700, exist_ok=True)
            # Also where they stood already: an earlier process may have ended between making and syncing them.
            _sync(maildir)
            _sync(self.root)
            self._created.add(user)

    def _unique_name(self) -> str:
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        number = next(self._numbers)
        # Six digits always, so that the names of a Maildir sort by time.
        return f"{seconds}.M{microseconds:06}P{os.getpid()}Q{number}.{self._hostname}"

    async def _commit(self, directories: set[Path]) -> None:
        """Wait for an fsync of `directories` that begins after this call."""
        self._renamed |= directories
        if self._next is None:
            self._next = asyncio.create_task(self._sync_renamed())
        await asyncio.shield(self._next)

    async def _sync_renamed(self) -> None:
        async with self._committing:
            directories, self._renamed = self._renamed, set()
            self._next = None  # who comes from here on needs the next pass
            await asyncio.get_running_loop().run_in_executor(self._writers, _sync_all, directories)


def _write_durably(path: Path, head: bytes, spool: Spool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        spool.copy_to(descriptor, head)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(directories: set[Path]) -> None:
    for directory in directories:
        _sync(directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            logger.error("cannot remove", extra={"file": str(file), "error": str(error)})
