"""What the server says to a client: a code, an enhanced code (RFC 2034), and text."""

import errno
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; several lines become one continued reply (RFC 5321 4.2.1)."""

    code: int
    status: str
    """The enhanced code, such as 2.1.0; empty where RFC 2034 has none: the greeting, EHLO, 354."""
    text: str

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.code), self.status, self.text)))

    def encode(self) -> bytes:
        lines = self.text.split("\n")
        prefix = f"{self.status} " if self.status else ""
        marks = ["-"] * (len(lines) - 1) + [" "]
        return "".join(
            f"{self.code}{mark}{prefix}{line}\r\n" for mark, line in zip(marks, lines, strict=True)
        ).encode("ascii", "replace")


UNAVAILABLE = Reply(421, "4.3.2", "Service shutting down")
TOO_MANY = Reply(421, "4.7.0", "Error: too many connections")
TOO_SLOW = Reply(421, "4.4.2", "Error: timeout exceeded")
FULL = Reply(452, "4.3.1", "Insufficient system storage")
BUSY = Reply(451, "4.3.2", "Error: server busy")
FAILED = Reply(451, "4.3.0", "Error: local error in processing")

_REPLIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), FULL),
    **dict.fromkeys((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE), BUSY),
}


def reply_to(error: OSError) -> Reply:
    """The reply to a message that failed: a lack of storage, of another resource (RFC 3463 3.4), or any other error."""
    return _REPLIES.get(error.errno or 0, FAILED)


def too_large(limit: int) -> Reply:
    """A message is larger than `limit` octets (RFC 1870 6.1)."""
    return Reply(552, "5.3.4", f"Message size exceeds fixed limit of {limit} bytes")
