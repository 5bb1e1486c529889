"""Commands that a client can send, and statuses that a server can return."""

from collections.abc import Mapping
from enum import Enum, StrEnum


class Command(StrEnum):
    """Command, independent of its code in a dialect.

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
    """The outcome of a request; the value is its text for people."""

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
"""The commands whose number only increases, until the server restarts."""

WRITES = frozenset(
    {
        Command.ENABLE_TRANSFORMS,
        Command.DISABLE_TRANSFORMS,
        Command.ENABLE_VERBOSE,
        Command.DISABLE_VERBOSE,
    }
)
"""The commands that change a server's state. No scrape sends one."""

DOCUMENTATION: Mapping[Command, str] = {
    Command.CONNECTIONS: "SMTP connections since the server started (command 00).",
    Command.ACTIVE_CONNECTIONS: "SMTP connections currently open (command 01).",
    Command.TRANSFERRED_BYTES: "Bytes transferred since the server started (command 02).",
    Command.TRANSFORMS: "Whether message transforms are enabled: 1 on, 0 off (command 03).",
    Command.MAILS: "Messages accepted since the server started (command 03 of group-4).",
    Command.SENT_BYTES: "Bytes sent since the server started (command 02 of group-4 and group-11).",
    Command.RECEIVED_BYTES: "Bytes received since the server started (command 03 of group-11).",
    Command.VERBOSE: "Whether verbose logging is enabled: 1 on, 0 off (command 05 of group-6).",
}
"""What each command reads: the HELP text of its metric."""
