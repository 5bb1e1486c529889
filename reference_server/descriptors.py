"""Adapts the session limits to the limit of open files, so that no session lacks a descriptor."""

import os
import resource
from dataclasses import replace

from reference_server.delivery import BATCH_MESSAGES
from reference_server.limits import ServerLimits

_OWN = 9
"""The event loop has 3, the ports 2, the transforms 1 and their guard 1, a directory being synced 1; 1 is spare."""

_REFUSED = 8
"""Sockets of clients that are rejected with 421."""

_SLOT = 7
"""Of a program: its output, stderr and pidfd, and two pipes; its input is the message's file."""

_SESSION = 3
"""A socket, a file for a large message, and one in the Maildir while it is stored."""

_INHERITED = 1024
"""Descriptors inherited from a parent are looked for below this number."""


class TooFewDescriptors(Exception):
    """The limit does not allow even one session."""


def free_descriptors() -> int:
    """Raises the soft limit to the hard limit; returns how many more files can be opened."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - sum(map(_is_open, range(min(hard, _INHERITED))))


def within(descriptors: int, limits: ServerLimits, slots: int) -> ServerLimits:
    """Lowers the limits so that every session can have a message in progress, `slots` of them being transformed.

    Raises `TooFewDescriptors`, which names the number of missing descriptors.
    """
    left = descriptors - _OWN - _REFUSED - _SLOT * slots
    if left < _SESSION:
        raise TooFewDescriptors(
            f"open file limit too low: raise the limit (ulimit -n) by {_SESSION - left} or more"
        )
    # Files in Maildirs are open for one batch only, whose size is limited.
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
