"""Time limits of a session: idle, message and session timeouts."""

import math
from dataclasses import dataclass

from reference_server.limits import ServerLimits


@dataclass(slots=True)
class SessionClock:
    """Times of the event loop in seconds: start of the session, its last input, and the deadline of its message."""

    limits: ServerLimits
    opened: float
    heard: float
    message_until: float = math.inf

    def start_message(self, now: float) -> None:
        self.message_until = now + self.limits.message

    def end_message(self) -> None:
        self.message_until = math.inf

    def due(self, now: float, waiting: bool) -> float:
        """When to look again, or to end the session where that is past; no limit runs while it is `waiting`."""
        if waiting:
            return now + self.limits.idle
        return min(
            self.heard + self.limits.idle, self.message_until, self.opened + self.limits.session
        )
