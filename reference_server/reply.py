"""What the server says to a client: a code, an enhanced code (RFC 2034), and text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; several lines become one continued reply (RFC 5321 4.2.1)."""

    code: int
    status: str
    """The enhanced code, such as 2.1.0; empty where RFC 2034 has none: the greeting, EHLO, 354."""
    text: str

    def encode(self) -> bytes:
        lines = self.text.split("\n")
        prefix = f"{self.status} " if self.status else ""
        marks = ["-"] * (len(lines) - 1) + [" "]
        return "".join(
            f"{self.code}{mark}{prefix}{line}\r\n" for mark, line in zip(marks, lines, strict=True)
        ).encode("ascii", "replace")


UNAVAILABLE = Reply(421, "4.3.2", "service is closing, try again later")
FULL = Reply(452, "4.3.1", "no room left, try again later")
FAILED = Reply(451, "4.3.0", "the server failed, try again later")


def too_large(limit: int) -> Reply:
    """A message is larger than it may be, in octets (RFC 1870 6.1)."""
    return Reply(552, "5.3.4", f"the limit is {limit} octets")
