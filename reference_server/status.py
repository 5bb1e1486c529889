"""The counters and settings reported over SMTPStatus (docs/metrics.md defines what is counted)."""

from dataclasses import dataclass

from protocol.message import Value
from protocol.vocabulary import Command


@dataclass(slots=True)
class ServerStatus:
    """The counters, from zero at the start. One event loop uses them, so they need no lock."""

    connections: int = 0
    active_connections: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    mails: int = 0
    transforms_enabled: bool = True
    verbose: bool = False

    def answer(self, command: Command) -> Value:
        """Executes a command; returns the value of its response, for a switch the new state."""
        match command:
            case Command.CONNECTIONS:
                return self.connections
            case Command.ACTIVE_CONNECTIONS:
                return self.active_connections
            case Command.TRANSFERRED_BYTES:
                return self.received_bytes + self.sent_bytes
            case Command.RECEIVED_BYTES:
                return self.received_bytes
            case Command.SENT_BYTES:
                return self.sent_bytes
            case Command.MAILS:
                return self.mails
            case Command.ENABLE_TRANSFORMS | Command.DISABLE_TRANSFORMS:
                self.transforms_enabled = command is Command.ENABLE_TRANSFORMS
            case Command.ENABLE_VERBOSE | Command.DISABLE_VERBOSE:
                self.verbose = command is Command.ENABLE_VERBOSE
            case Command.TRANSFORMS | Command.VERBOSE:
                pass
        if command in (Command.VERBOSE, Command.ENABLE_VERBOSE, Command.DISABLE_VERBOSE):
            return self.verbose
        return self.transforms_enabled
