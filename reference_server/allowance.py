"""Limits the commands and errors of a client between two accepted messages."""

from reference_server.limits import SessionLimits

ERROR_POINTS = 10
"""Of one error. A rejected recipient has fewer: relays that send many messages over a connection meet some."""

REJECTED_RECIPIENT_POINTS = 1


class Allowance:
    """Counts commands and errors; both start again with an accepted message."""

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._commands = 0
        self._points = 0

    def use_command(self) -> bool:
        """Count a command; returns whether it is within the limit."""
        self._commands += 1
        return self._commands <= self._limits.commands

    def use_error(self, points: int) -> bool:
        """Count an error; returns whether further ones are left."""
        self._points += points
        return self._points < self._limits.errors * ERROR_POINTS

    def renew(self) -> None:
        self._commands = self._points = 0
