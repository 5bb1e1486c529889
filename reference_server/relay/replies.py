"""Replies of a server, parsed from bytes cut anywhere (RFC 5321 4.2, RFC 2034). No I/O."""

import re

from reference_server.reply import Reply

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")

_LINE_LIMIT = 4096
"""Octets of one line; RFC 5321 4.5.3.1.5 allows 512, and servers send more."""

_LINES_LIMIT = 128
"""Lines of one reply; EHLO replies have some twenty."""


class InvalidReply(Exception):
    """The server sent something that is not a reply."""


class ReplyParser:
    """Parses replies. The text of a multiline reply has a newline between its lines."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []
        self._code = b""

    def receive(self, octets: bytes) -> list[Reply]:
        """Returns the replies that are complete now. Raises `InvalidReply`; afterwards the parser is unusable."""
        *lines, self._buffer = (self._buffer + octets).split(b"\n")
        replies = [reply for line in lines if (reply := self._read_line(line))]
        if len(self._buffer) > _LINE_LIMIT:
            raise InvalidReply(f"a reply line is longer than {_LINE_LIMIT} octets")
        return replies

    def _read_line(self, line: bytes) -> Reply | None:
        found = _LINE.fullmatch(line.removesuffix(b"\r"))
        if not found or len(line) > _LINE_LIMIT:
            raise InvalidReply(f"expected a reply, got {printable(line[:60])!r}")
        code, mark, text = found.groups(default=b"")
        if self._lines and code != self._code:
            raise InvalidReply("the lines of a reply have different codes")
        if len(self._lines) >= _LINES_LIMIT:
            raise InvalidReply(f"a reply has more than {_LINES_LIMIT} lines")
        self._code = code
        self._lines.append(text)
        if mark == b"-":
            return None
        lines, self._lines = self._lines, []
        return _reply(int(code), [printable(text) for text in lines])


def _reply(code: int, lines: list[str]) -> Reply:
    """Separates the enhanced code, which is on every line (RFC 2034 4) and has the class of the code."""
    found = _STATUS.match(lines[0])
    status = found[1] if found and found[1][0] == str(code)[0] else ""
    if status:
        lines = [line.removeprefix(status).lstrip(" ") for line in lines]
    return Reply(code, status, "\n".join(lines))


def printable(octets: bytes) -> str:
    """Returns text that is safe in a log line or a reply: ASCII, with `?` for everything else."""
    return "".join(chr(octet) if 32 <= octet < 127 else "?" for octet in octets)
