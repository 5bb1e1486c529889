"""The words of SMTPStatus: the commands that a client can send and the statuses that a server can return."""

from enum import Enum, StrEnum


class Command(StrEnum):
    """What a server can be asked or told, whatever byte a dialect uses for it.

    The value of a command that reads is the name of what it reads, in JSON and (prefixed) as a metric.
    """

    CONNECTIONS = "connections_total"
    ACTIVE_CONNECTIONS = "active_connections"
    TRANSFERRED_BYTES = "transferred_bytes_total"
    TRANSFORMS = "transforms_enabled"
    ENABLE_TRANSFORMS = "enable_transforms"
    DISABLE_TRANSFORMS = "disable_transforms"
    MAILS = "mails_total"
    SENT_BYTES = "sent_bytes_total"
    RECEIVED_BYTES = "received_bytes_total"
    VERBOSE = "verbose_enabled"
    ENABLE_VERBOSE = "enable_verbose"
    DISABLE_VERBOSE = "disable_verbose"

    __hash__ = str.__hash__  # Enum's own is Python, and commands are keys for every datagram


class Status(Enum):
    """What a server says of a request; the value is how people read it."""

    DONE = "done"
    AUTHENTICATION_FAILED = "authentication failed"
    INVALID_VERSION = "invalid version"
    INVALID_COMMAND = "invalid command"
    INVALID_REQUEST = "invalid request (wrong size)"
    SERVER_FAILURE = "unexpected failure of the server"
    NO_TRANSFORM_PROGRAM = "no transform program"
    INVALID_SIGNATURE = "invalid signature"


FLAGS = frozenset({Command.TRANSFORMS, Command.VERBOSE})
"""The commands whose value is on or off; every other value is a number."""

COUNTERS = frozenset(command for command in Command if command.endswith("_total"))
"""The commands whose number only grows, until the server starts again."""

WRITES = frozenset(
    {
        Command.ENABLE_TRANSFORMS,
        Command.DISABLE_TRANSFORMS,
        Command.ENABLE_VERBOSE,
        Command.DISABLE_VERBOSE,
    }
)
"""The commands that change a server; only a person's explicit wish sends one."""
