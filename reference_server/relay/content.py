"""A message's content as SMTP transfers it: CRLF line ends, leading dots doubled, a final dot (RFC 5321 4.5.2)."""

import re
from dataclasses import dataclass

_BARE_CR = re.compile(rb"\r(?!\n)")
_END_OF_HEADERS = re.compile(rb"\n\r?\n")


class InvalidContent(Exception):
    """The content has a bare CR, which servers read differently; sent on, it could smuggle a message."""


class ContentEncoder:
    """Encodes content with LF or CRLF line ends; the result does not depend on how it is cut into pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._last = b"\n"

    def encode(self, octets: bytes) -> bytes:
        """Returns the next piece to be sent. Raises `InvalidContent` on a bare CR."""
        octets = self._held + octets
        self._held = b""
        if b"\r" in octets:
            if octets.endswith(b"\r"):
                octets, self._held = octets[:-1], b"\r"
            if _BARE_CR.search(octets):
                raise InvalidContent("a CR without LF in the message")
            octets = octets.replace(b"\r\n", b"\n")
        if not octets:
            return b""
        starts_with_dot = self._last == b"\n" and octets.startswith(b".")
        self._last = octets[-1:]
        encoded = octets.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")
        return b"." + encoded if starts_with_dot else encoded

    def finish(self) -> bytes:
        """Returns the end: the line end that the last line may lack, and the final dot. Raises `InvalidContent`."""
        if self._held:
            raise InvalidContent("a CR without LF at the end of the message")
        return b".\r\n" if self._last == b"\n" else b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Measure:
    """What MAIL has to state about content. `size` is in octets with CRLF, without doubled dots (RFC 1870 3)."""

    size: int = 0
    eight_bit: bool = False
    """Whether an octet is above 127: it needs 8BITMIME."""
    eight_bit_header: bool = False
    """Whether one is in the header section: it needs SMTPUTF8 (RFC 6532)."""


class Measurer:
    """Measures content that comes in pieces with LF or CRLF line ends."""

    def __init__(self) -> None:
        self._size = 0
        self._last = b"\n"
        self._eight_bit = False
        self._eight_bit_header = False
        self._in_header = True
        self._tail = b"\n"
        """The last octets of the header section so far: its end may be cut."""

    def add(self, octets: bytes) -> None:
        """Adds the next piece."""
        if not octets:
            return
        # Each LF becomes CRLF, and each CRLF has its CR already.
        crlf = octets.count(b"\r\n") + (self._last == b"\r" and octets.startswith(b"\n"))
        self._size += len(octets) + octets.count(b"\n") - crlf
        self._last = octets[-1:]
        ascii_only = octets.isascii()
        self._eight_bit = self._eight_bit or not ascii_only
        if self._in_header:
            self._add_header(octets, ascii_only)

    def _add_header(self, octets: bytes, ascii_only: bool) -> None:
        seen = self._tail + octets
        end = _END_OF_HEADERS.search(seen)
        header = seen[: end.start()] if end else seen
        self._eight_bit_header |= not ascii_only and not header.isascii()
        self._in_header = end is None
        self._tail = seen[-2:]

    def result(self) -> Measure:
        """Returns the measure of everything added, with the line end that is added to an unfinished last line."""
        unfinished = 0 if self._last == b"\n" else 2
        return Measure(self._size + unfinished, self._eight_bit, self._eight_bit_header)
