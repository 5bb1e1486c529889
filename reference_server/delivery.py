"""A message into Maildirs, so that 250 may be said: on stable storage, data and names, in all of them or in none.

Messages that come while others are being stored wait, and are then stored in one pass (group commit): write each to
tmp; fsync each, link it into every further `new`, rename it into the first one; then fsync every `new` once. An fsync
that failed is never repeated, since a second one may succeed with the data lost.

One thread goes from pass to pass. Four threads with a message each did a fifth less of 1 KiB with 10 sessions, at
twice the CPU: they waited for the interpreter, and for one another's commits of the journal.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path

from reference_server.spool import Spool

logger = logging.getLogger(__name__)

_STALE = 36 * 3600
"""Seconds after which a file in tmp belongs to nobody any more, as Maildir prescribes."""

BATCH_MESSAGES = 100
"""In one pass, at most: each has a file open."""

_BATCH_OCTETS = 16 * 1024 * 1024
"""A pass that has as many gets no more: the first of its messages waits for the last."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Maildirs:
    """One Maildir per user under `root`. Errors are `OSError`s; then nothing of the message is in any `new`."""

    def __init__(self, root: Path, hostname: str) -> None:
        self.root = root
        self._hostname = hostname.replace("/", "\\057").replace(":", "\\072")
        self._numbers = count(1)
        self._created: set[str] = set()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="delivery")
        self._storing = asyncio.Lock()
        self._gathering: _Batch | None = None

    async def deliver(self, users: Sequence[str], head: bytes, spool: Spool) -> None:
        """Store `head` and the spool's content for every user; durable when it returns."""
        batch = self._gathering
        if batch is None or batch.full:
            batch = self._gathering = _Batch(self._store_batch)
        maildirs = [f"{self.root}/{user}" for user in users]
        delivery = _Delivery(maildirs, self._unique_name(), head, spool)
        batch.add(delivery, spool.size)
        await asyncio.shield(batch.stored)
        if delivery.error:
            raise delivery.error

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
        self._writer.shutdown()

    async def _store_batch(self, batch: "_Batch") -> None:
        async with self._storing:
            if self._gathering is batch:
                self._gathering = None  # who comes from here on needs the next pass
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._store, batch.deliveries)

    def _store(self, deliveries: list["_Delivery"]) -> None:
        self._pass(deliveries)
        if lost := [d for d in deliveries if isinstance(d.error, FileNotFoundError)]:
            # Somebody removed a Maildir under us: make it again, and try once more.
            for delivery in lost:
                self._created.difference_update(delivery.maildirs)
                delivery.error = None
            self._pass(lost)

    def _pass(self, deliveries: list["_Delivery"]) -> None:
        for delivery in deliveries:
            delivery.attempt(self._create)
            delivery.attempt(_Delivery.write)
        for delivery in deliveries:
            delivery.attempt(_Delivery.publish)
        for new in {new for delivery in deliveries for new in delivery.named_in}:
            try:
                _sync(new)
            except OSError as error:
                for delivery in deliveries:
                    if new in delivery.named_in:
                        delivery.fail(error)

    def _create(self, delivery: "_Delivery") -> None:
        for maildir in delivery.maildirs:
            if maildir in self._created:
                continue
            for directory in (maildir, f"{maildir}/tmp", f"{maildir}/new", f"{maildir}/cur"):
                Path(directory).mkdir(mode=0o700, exist_ok=True)
            # Also where they stood already: an earlier process may have ended between making and syncing them.
            _sync(maildir)
            _sync(str(self.root))
            self._created.add(maildir)

    def _unique_name(self) -> str:
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        number = next(self._numbers)
        # Six digits always, so that the names of a Maildir sort by time.
        return f"{seconds}.M{microseconds:06}P{os.getpid()}Q{number}.{self._hostname}"


def make_root(root: Path) -> None:
    """Make the directory of all Maildirs, and those above it; durable when it returns. Raises `OSError`."""
    made = list(takewhile(lambda directory: not directory.exists(), (root, *root.parents)))
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in made:
        _sync(str(directory.parent))


class _Delivery:
    """A message on its way into Maildirs, in steps. After an `error` nothing of it is left in any.

    Paths are strings here: as `Path`s they cost a tenth of all that a 1 KiB message costs.
    """

    def __init__(self, maildirs: Sequence[str], name: str, head: bytes, spool: Spool) -> None:
        self.maildirs = maildirs
        self.error: Exception | None = None
        self._name = name
        self._head = head
        self._spool = spool
        self._descriptor = -1
        self._files: list[str] = []

    @property
    def named_in(self) -> list[str]:
        """The directories to be synced, after the last step."""
        return [] if self.error else [f"{maildir}/new" for maildir in self.maildirs]

    def attempt(self, step: Callable[["_Delivery"], None]) -> None:
        """Go a step, unless one has failed. What is wrong with a message is not the others' concern."""
        if self.error is None:
            try:
                step(self)
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        self.error = error
        _remove(self._files)
        self._files = []

    def write(self) -> None:
        temporary = f"{self.maildirs[0]}/tmp/{self._name}"
        self._descriptor = os.open(temporary, _NEW_FILE, 0o600)
        self._files = [temporary]
        try:
            self._spool.copy_to(self._descriptor, self._head)
            # The disk may begin with all files of a pass, where fsync would give it one after the other: with 1 MiB
            # that is a twentieth to a tenth more messages. Only a hint: not every file system takes it.
            with suppress(OSError):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except BaseException:
            os.close(self._descriptor)
            raise

    def publish(self) -> None:
        """Make durable what was written, then give it its names."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
        temporary = self._files[0]
        first, *others = [f"{new}/{self._name}" for new in self.named_in]
        for file in others:
            os.link(temporary, file)
            self._files.append(file)
        os.rename(temporary, first)  # noqa: PTH104
        self._files[0] = first


class _Batch:
    """What one pass stores; `stored` ends with it."""

    def __init__(self, store: Callable[["_Batch"], Coroutine[None, None, None]]) -> None:
        self.deliveries: list[_Delivery] = []
        self._octets = 0
        self.stored = asyncio.create_task(store(self))

    @property
    def full(self) -> bool:
        return len(self.deliveries) >= BATCH_MESSAGES or self._octets >= _BATCH_OCTETS

    def add(self, delivery: _Delivery, octets: int) -> None:
        self.deliveries.append(delivery)
        self._octets += octets


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(files: Sequence[str]) -> None:
    for file in files:
        try:
            Path(file).unlink(missing_ok=True)
        except OSError as error:
            logger.error("cannot remove", extra={"file": file, "error": str(error)})
