"""One message in the Maildirs of its recipients: written, made durable, and given its names.

The steps of Maildir with the precautions of qmail and Postfix: create `tmp/NAME` (O_EXCL), write, fsync, link(2) into
every `new`, unlink the temporary name. link(2) fails where rename(2) would silently replace a message of the same name.
Paths are strings here: as `Path`s they cost a tenth of all that a message of 1 KiB costs.
"""

import errno
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path
from tempfile import mkstemp

from reference_server.spool import Spool, unnamed_file

logger = logging.getLogger(__name__)

_STALE_S = 36 * 3600
"""Age in seconds after which a file in `tmp` belongs to no delivery any more, as Maildir prescribes."""

_NAME = re.compile(r"[0-9]{9,}\.M[0-9]{6}P[0-9]+Q[0-9]+(?:R[0-9a-f]{16})?\.[^/:]+")
"""The form of `unique_names`, with and without the random part."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_HOSTNAME_OCTETS = 64
"""Of the host's name in a file name, which has at most 255 octets."""

_NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""How link(2) fails on file systems without hard links."""


def unique_names(hostname: str) -> Iterator[str]:
    """File names by the convention of Maildir: seconds.M(icroseconds)P(rocess)Q(number)R(andom).host.

    Instances that share a Maildir, a host name, a process number and a clock differ in the random part. The
    microseconds have six digits, so that the names sort by time.
    """
    host = hostname[:_HOSTNAME_OCTETS].replace("/", "\\057").replace(":", "\\072")
    origin = f"P{os.getpid()}Q{{}}R{secrets.token_hex(8)}.{host}"
    for number in count(1):
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        yield f"{seconds}.M{microseconds:06}{origin.format(number)}"


class MaildirMessage:
    """A message that is written in steps. After an `error` nothing of it is left in any Maildir.

    `hard_links` is whether the file system has them; without, each recipient's copy is written separately and renamed.
    """

    def __init__(
        self,
        maildirs: Sequence[str],
        name: str,
        head: bytes,
        spool: Spool,
        *,
        hard_links: bool,
    ) -> None:
        self.maildirs = maildirs
        self.error: Exception | None = None
        self._name = name
        self._head = head
        self._spool = spool
        self._hard_links = hard_links
        self._descriptors: list[int] = []
        self._files: list[str] = []

    @property
    def directories(self) -> list[str]:
        """The directories whose fsync completes the delivery; empty after an error."""
        return [] if self.error else [f"{maildir}/new" for maildir in self.maildirs]

    def attempt(self, step: Callable[[], None]) -> None:
        """Call `step` unless an earlier one failed; an exception fails this message alone."""
        if self.error is None:
            try:
                step()
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """Remove every file of the message and keep the error."""
        self.error = error
        self._close()
        _remove(self._files)
        self._files = []

    def write(self) -> None:
        """Create and write the temporary file, one for all recipients where there are hard links."""
        for maildir in self.maildirs[:1] if self._hard_links else self.maildirs:
            temporary = f"{maildir}/tmp/{self._name}"
            descriptor = os.open(temporary, _NEW_FILE, 0o600)
            self._descriptors.append(descriptor)
            self._files.append(temporary)
            self._spool.copy_to(descriptor, self._head)
            # A hint to start writing back, so that the disk works on all files of a batch and not one fsync after the
            # other: 5 to 10 % more messages of 1 MiB. Not every file system supports it.
            with suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            if not self._hard_links:
                self._sync()  # a file for each recipient: not all open at the same time

    def publish(self) -> None:
        """Make the file durable, then give it its name in every `new`."""
        self._sync()
        temporaries = list(self._files)
        for number, new in enumerate(self.directories):
            published = f"{new}/{self._name}"
            if self._hard_links:
                os.link(temporaries[0], published)
                self._files.append(published)
            else:
                os.rename(temporaries[number], published)  # noqa: PTH104
                self._files[number] = published
        if self._hard_links:
            self._files.remove(temporaries[0])
            _remove(temporaries)

    def _sync(self) -> None:
        for descriptor in self._descriptors:
            os.fsync(descriptor)
        self._close()

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []


def sync_directory(directory: str) -> None:
    """Make the names in a directory durable. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_root(root: Path) -> None:
    """Make the directory of all Maildirs and its parents, durably. Raises `OSError`."""
    made = list(takewhile(lambda directory: not directory.exists(), (root, *root.parents)))
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in made:
        sync_directory(str(directory.parent))


def has_hard_links(root: Path) -> bool:
    """Check that mail can be stored in `root`, and return whether its file system has hard links.

    Raises `OSError` where files cannot be created there or directories cannot be synced.
    """
    unnamed_file(root).close()
    descriptor, file = mkstemp(prefix=".probe-", dir=root)
    os.close(descriptor)
    files = [file]
    try:
        os.link(file, f"{file}-link")
        files.append(f"{file}-link")
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    finally:
        _remove(files)
        sync_directory(str(root))
    return True


def clear_stale(root: Path) -> int:
    """Remove what crashed deliveries left in the `tmp` of Maildirs 36 hours ago or more; returns how many files.

    Only regular files named as this server names them are removed, and only where `new` and `cur` are beside `tmp`;
    links are not followed. What cannot be read or removed is logged and stays.
    """
    oldest = time.time() - _STALE_S
    return sum(
        _clear_tmp(Path(maildir.path), oldest)
        for maildir in _entries(root)
        if _is_maildir(maildir)
    )


def _clear_tmp(maildir: Path, oldest: float) -> int:
    removed = 0
    for file in _entries(maildir / "tmp"):
        try:
            found = file.stat(follow_symlinks=False)
            if (
                stat.S_ISREG(found.st_mode)
                and found.st_mtime < oldest
                and _NAME.fullmatch(file.name)
            ):
                Path(file.path).unlink()
                removed += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("Cannot remove a stale file", extra={"file": file.path, "err": error})
    return removed


def _is_maildir(entry: "os.DirEntry[str]") -> bool:
    try:
        return all(
            stat.S_ISDIR(Path(entry.path, name).lstat().st_mode)
            for name in ("", "tmp", "new", "cur")
        )
    except OSError:
        return False


def _entries(directory: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        logger.warning("Cannot read a directory", extra={"directory": directory, "err": error})
        return []


def _remove(files: Sequence[str]) -> None:
    for file in files:
        try:
            Path(file).unlink(missing_ok=True)
        except OSError as error:
            logger.error("Cannot remove a file", extra={"file": file, "err": error})
