"""A message's content on its way: in memory while small, in a file without a name beyond that."""

import os
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile

_IN_MEMORY = 512 * 1024
"""Octets kept in memory: a hundred sessions at once stay small, and most mail never touches a second file."""


def unnamed_file(directory: Path) -> FileIO:
    """A file that is gone when it is closed, however the process ends. Raises `OSError`."""
    return TemporaryFile(dir=directory, buffering=0)


class Spool:
    """Content that is appended, then read. Everything but `append` may block on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pieces: list[bytes] = []
        self._file: FileIO | None = None
        self._in_memory = 0
        self._error: OSError | None = None
        self.size = 0

    @classmethod
    def of(cls, file: FileIO, directory: Path) -> "Spool":
        """The content of a file, which belongs to the spool from now on."""
        spool = cls(directory)
        spool._file = file
        spool.size = file.seek(0, os.SEEK_END)
        return spool

    def append(self, octets: bytes) -> None:
        self.size += len(octets)
        if self._error is None:
            self._pieces.append(octets)
            self._in_memory += len(octets)

    @property
    def full(self) -> bool:
        """Whether it is time to `spill`."""
        return self._in_memory > _IN_MEMORY

    def spill(self) -> None:
        """Move what is in memory to the file. An error is kept for those who read the content."""
        try:
            if self._file is None:
                self._file = unnamed_file(self._directory)
            _write_all(self._file.fileno(), self._pieces)
        except OSError as error:
            self._error = error
        self._pieces = []
        self._in_memory = 0

    def open(self) -> FileIO:
        """The content as a file that is read from its start; it belongs to the spool. Raises `OSError`."""
        if self._pieces or self._file is None:
            self.spill()
        if self._error:
            raise self._error
        assert self._file is not None
        self._file.seek(0)
        return self._file

    def copy_to(self, descriptor: int, head: bytes) -> None:
        """Write `head` and the content behind it. Raises `OSError`."""
        if self._file is None and self._error is None:
            _write_all(descriptor, [head, *self._pieces])
            return
        _write_all(descriptor, [head])
        source = self.open().fileno()
        offset = 0
        while copied := os.sendfile(descriptor, source, offset, self.size - offset):
            offset += copied

    def close(self) -> None:
        """Let go of the file. Safe to repeat."""
        if self._file:
            self._file.close()
        self._pieces = []


def _write_all(descriptor: int, pieces: list[bytes]) -> None:
    for start in range(0, len(pieces), 512):
        octets = pieces[start : start + 512]
        written = os.writev(descriptor, octets)
        if written < sum(map(len, octets)):
            rest = memoryview(b"".join(octets))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
