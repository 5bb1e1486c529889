"""Reads a small text file named in a configuration: regular files only, without blocking on a pipe."""

import os
import stat
from pathlib import Path


def read_text(path: Path, max_bytes: int) -> str:
    """Return the UTF-8 text of a regular file of at most `max_bytes`.

    Raises `ValueError` with the reason only: the path may be a secret that was put in the wrong place.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO without a writer blocks forever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                octets = file.read(max_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(error.strerror or "input/output error") from None
    except ValueError as error:  # also raised for a path with a null byte
        raise ValueError(str(error)) from None
    if len(octets) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
