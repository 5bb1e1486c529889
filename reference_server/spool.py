"""The content of a message in progress: in memory up to a limit, otherwise in a file without a name."""

import errno
import os
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile

_MIN_MEMORY_BYTES = 512 * 1024
"""Per-message memory limit, in octets, while total use is above the budget."""

_MAX_MEMORY_BYTES = 2 * 1024 * 1024
"""Per-message memory limit while total use is below the budget: writing 1 MiB twice costs a fourth more CPU."""

_BLOCK = 256 * 1024
"""Octets read from the file at a time."""

_START = 8192
"""Octets kept for the log, which names a message by its Message-ID."""

_PIECE = 64
"""Overhead of a piece in octets, counted so that a client cannot exceed its share with tiny pieces."""


class Memory:
    """Counts the octets that all spools of a server hold in memory; above the limit each keeps little."""

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    @property
    def scarce(self) -> bool:
        return self._used > self._limit

    def take(self, octets: int) -> None:
        """Negative to give back."""
        with self._lock:
            self._used += octets


def unnamed_file(directory: Path) -> FileIO:
    """Opens a file without a name, deleted when it is closed or the process ends. Raises `OSError`."""
    return TemporaryFile(dir=directory, buffering=0)


class Spool:
    """Content that is appended, then read. Every method except `append` may block on the disk."""

    def __init__(self, directory: Path, memory: Memory | None = None) -> None:
        self._directory = directory
        self._memory = memory or Memory()
        self._pieces: list[bytes] = []
        self._file: FileIO | None = None
        self._in_memory = 0
        self._error: OSError | None = None
        self.size = 0
        self.start = b""
        """The first octets that were appended, at least those of most headers."""

    @classmethod
    def of(cls, file: FileIO, directory: Path) -> "Spool":
        """The content of a file, which belongs to the spool from now on."""
        spool = cls(directory)
        spool._file = file
        spool.size = file.seek(0, os.SEEK_END)
        return spool

    def append(self, octets: bytes) -> None:
        if self.size < _START:
            self.start += octets[: _START - self.size]
        self.size += len(octets)
        if self._error is None:
            self._pieces.append(octets)
            used = len(octets) + _PIECE
            self._in_memory += used
            self._memory.take(used)

    @property
    def in_file(self) -> bool:
        """Whether `close` frees a file, which may block."""
        return self._file is not None

    @property
    def full(self) -> bool:
        """Whether `spill` should be called."""
        return self._in_memory > (_MIN_MEMORY_BYTES if self._memory.scarce else _MAX_MEMORY_BYTES)

    def spill(self) -> None:
        """Moves the content from memory to the file. An error is kept, and raised on reading."""
        try:
            if self._file is None:
                self._file = unnamed_file(self._directory)
            _write_all(self._file.fileno(), self._pieces)
        except OSError as error:
            self._error = error
        self._forget()

    def open(self) -> FileIO:
        """Returns the content as a file positioned at its start; it belongs to the spool. Raises `OSError`."""
        if self._pieces or self._file is None:
            self.spill()
        if self._error:
            raise self._error
        assert self._file is not None
        self._file.seek(0)
        return self._file

    def blocks(self) -> Iterator[bytes]:
        """Yields the content. Raises `OSError`, also where the spool has been closed."""
        if self._file is None and self._error is None:
            if sum(map(len, self._pieces)) != self.size:
                raise OSError(errno.EIO, "the spool is closed")
            yield from tuple(self._pieces)
            return
        file = self.open()
        for offset in range(0, self.size, _BLOCK):
            yield os.pread(file.fileno(), min(_BLOCK, self.size - offset), offset)

    def copy_to(self, descriptor: int, head: bytes) -> None:
        """Writes `head`, then the content. Raises `OSError`, also where the spool has been closed."""
        pieces = self._pieces
        if self._file is None and self._error is None:
            if sum(map(len, pieces)) != self.size:
                raise OSError(errno.EIO, "the spool is closed")
            _write_all(descriptor, [head, *pieces])
            return
        _write_all(descriptor, [head])
        source = self.open().fileno()
        offset = 0
        while offset < self.size:
            copied = os.sendfile(descriptor, source, offset, self.size - offset)
            if not copied:
                raise OSError(errno.EIO, f"a spool of {self.size} octets ended after {offset}")
            offset += copied

    def close(self) -> None:
        """Closes the file. Safe to repeat."""
        if self._file:
            self._file.close()
        self._forget()

    def _forget(self) -> None:
        self._memory.take(-self._in_memory)
        self._pieces = []
        self._in_memory = 0


def _write_all(descriptor: int, pieces: list[bytes]) -> None:
    for start in range(0, len(pieces), 512):
        octets = pieces[start : start + 512]
        written = os.writev(descriptor, octets)
        if written < sum(map(len, octets)):
            rest = memoryview(b"".join(octets))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
