"""Maps the exit status of a transform to the reply for its message, by the codes of sysexits.h."""

import errno
import re
from collections.abc import Mapping
from io import FileIO

from reference_server.reply import FAILED, Reply, reply_to

MISCONFIGURED = Reply(451, "4.3.5", "Error: server configuration error")
_REPLIES: Mapping[int, Reply] = {
    65: Reply(554, "5.6.0", "Message content rejected"),  # EX_DATAERR
    69: Reply(554, "5.3.0", "Message rejected"),  # EX_UNAVAILABLE, as Postfix' filters do
    76: Reply(554, "5.6.0", "Message content rejected"),  # EX_PROTOCOL
    77: Reply(554, "5.7.1", "Message rejected"),  # EX_NOPERM
    100: Reply(554, "5.6.0", "Message rejected"),  # qmail's permanent failure
    # EX_USAGE, NOUSER and the like, SOFTWARE, OSFILE, CONFIG, cannot execute, not found: a configuration error.
    **dict.fromkeys((64, 66, 67, 68, 70, 72, 78, 126, 127), MISCONFIGURED),
}
"""Replies to exit codes; any other code is FAILED."""


_CONFIGURATION = frozenset(
    (
        *(errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ELIBBAD),
        *(errno.ELOOP, errno.ENAMETOOLONG, errno.E2BIG, errno.EINVAL),
    )
)
"""Errors of execve(2) that the same program has again."""


class TransformFailed(Exception):
    """A program did not transform the message; `reply` is for the client."""

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply


def not_started(name: str, error: OSError) -> TransformFailed:
    """A program that the system did not start: a configuration error, or a lack of processes, memory or files."""
    wrong = error.errno in _CONFIGURATION
    reply = MISCONFIGURED if wrong else reply_to(error)
    return TransformFailed(reply, f"{name} cannot be started: {error.strerror or error}")


def check_exit_status(name: str, code: int, errors: FileIO) -> None:
    """Raise `TransformFailed` unless `code` is 0; the first line on stderr says why."""
    if code == 0:
        return
    errors.seek(0)
    first_line = errors.read(4096).partition(b"\n")[0].decode("ascii", "replace")
    said = "".join(c if " " <= c <= "~" else "?" for c in first_line)[:200].strip()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    raise TransformFailed(
        _with_text(_REPLIES.get(code, FAILED), said), f"{name} {how}: {said or 'no message'}"
    )


def _with_text(reply: Reply, said: str) -> Reply:
    """Returns the reply with the program's text if it is a rejection; other texts are only logged."""
    if reply.code < 500 or not said:
        return reply
    found = re.fullmatch(r"(5\.\d{1,3}\.\d{1,3}) +(.+)", said)
    return Reply(reply.code, *(found.groups() if found else (reply.status, said)))
