"""Buffers octets from a client, to be read as lines or as they are."""


class LineTooLong(Exception):
    """A line was longer than the limit; it has been discarded."""


class LineBuffer:
    """Octets in order; a line ends with LF. No more is kept of a line than `line_limit` octets, its end included."""

    def __init__(self, line_limit: int) -> None:
        self._line_limit = line_limit
        self._octets = b""
        self._start = 0
        self._discarding = False

    def __len__(self) -> int:
        return len(self._octets) - self._start

    @property
    def has_line(self) -> bool:
        """Whether `take_line` has something to do: return a line, or discard the beginning of one that is too long."""
        return len(self) >= self._line_limit or self._octets.find(b"\n", self._start) >= 0

    def append(self, octets: bytes) -> None:
        self._octets = self._octets[self._start :] + octets
        self._start = 0

    def take_line(self) -> bytes | None:
        """The next line with its end, or None where it is not complete. Raises `LineTooLong`."""
        end = self._octets.find(b"\n", self._start) + 1
        if not end:
            if self._discarding or len(self) >= self._line_limit:
                self._discarding = True
                self.clear()
            return None
        line, discarding = self._octets[self._start : end], self._discarding
        self._start, self._discarding = end, False
        if discarding or len(line) > self._line_limit:
            raise LineTooLong
        return line

    def take_all(self) -> bytes:
        octets = self._octets[self._start :]
        self.clear()
        return octets

    def clear(self) -> None:
        self._octets, self._start = b"", 0
