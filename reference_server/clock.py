"""When a session runs out of time: silent, too slow with a message, or there for too long."""

import math
from dataclasses import dataclass

from reference_server.limits import ServerLimits


@dataclass(slots=True)
class SessionClock:
    """Times of the event loop, in seconds: when the session was opened and heard of, and when its message is due."""

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
