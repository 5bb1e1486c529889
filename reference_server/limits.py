"""Limits of messages, sessions, connections and times."""

from dataclasses import dataclass

READ_AHEAD_BYTES = 64 * 1024
"""Octets accepted from a client that does not wait for the answer to its message."""

LAST_LOOK_S = 0.01
"""Seconds between the end of a time limit and the session's, in which input that has arrived is read."""

LINGER_S = 1.0
"""Seconds for reading the last reply: closing a socket with input unread would destroy the reply."""

STEP_COMMANDS = 16
"""Commands processed in one step: a millisecond at most."""

LOGGED_OCTETS = 300
"""Octets of a rejected command in the log."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits of one session. Sizes in octets, lines with their ends."""

    message_size: int = 64 * 1024 * 1024
    recipients: int = 1000
    errors: int = 20
    """Maximum errors since the last accepted message; ten rejected recipients count as one."""
    commands: int = 10_000
    """Maximum commands between two accepted messages."""
    command_line: int = 2048
    text_line: int = 65536


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Numbers of connections, and times in seconds."""

    connections: int = 1000
    connections_per_address: int = 500
    sockets: int = 1 << 20
    """Open sockets, including those of clients being rejected; further clients wait in the kernel."""
    idle: float = 300
    """Maximum seconds between two inputs (RFC 5321 4.5.3.2.7)."""
    message: float = 900
    """Maximum seconds from DATA to the final dot, regardless of activity."""
    session: float = 3600
