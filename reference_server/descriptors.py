"""How many sessions the system's limit of open files allows: one that finds no descriptor left would cost mail."""

import os
import resource
from dataclasses import replace

from reference_server.delivery import BATCH_MESSAGES
from reference_server.limits import ServerLimits

_OWN = 9
"""The event loop has 3, the ports 2, the transforms 1 and their guard 1, a directory being synced 1; 1 is spare."""

_REFUSED = 8
"""For clients that are told 421: by then they have a socket."""

_SLOT = 7
"""A program's output, its errors, its end, and two pipes while it is started; its input is the message's file."""

_SESSION = 3
"""A socket, a file for a message that is large, and another one in the Maildir while it is stored."""

_INHERITED = 1024
"""Below this number are those that a parent left open, if any."""


class TooFewDescriptors(Exception):
    """Not even one session could be had."""


def free_descriptors() -> int:
    """How many files may be opened, and not yet are; the limit is raised as far as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - sum(map(_is_open, range(min(hard, _INHERITED))))


def within(descriptors: int, limits: ServerLimits, slots: int) -> ServerLimits:
    """The limits, lowered so that every session can have a message under way, with `slots` transformed at once.

    Raises `TooFewDescriptors`, which says how many are missing.
    """
    left = descriptors - _OWN - _REFUSED - _SLOT * slots
    if left < _SESSION:
        raise TooFewDescriptors(
            f"too few files may be open: raise the limit (ulimit -n) by {_SESSION - left} or more"
        )
    # The files in the Maildirs are those of one pass, which takes only so many.
    most = max(left // _SESSION, (left - BATCH_MESSAGES) // (_SESSION - 1))
    connections = min(most, limits.connections)
    files = connections + min(connections, BATCH_MESSAGES)
    return replace(limits, connections=connections, sockets=left + _REFUSED - files)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
