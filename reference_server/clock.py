"""Time limits of a session: idle, message and session timeouts."""

import math
from dataclasses import dataclass

from reference_server.limits import LAST_LOOK_S, ServerLimits


@dataclass(slots=True)
class SessionClock:
    """Times of the event loop in seconds: start of the session, its last input, and the deadline of its message."""

    limits: ServerLimits
    opened: float
    heard: float
    message_until: float = math.inf
    late: bool = False
    """Whether a limit was exceeded at the last look."""

    def start_message(self, now: float) -> None:
        self.message_until = now + self.limits.message

    def end_message(self) -> None:
        self.message_until = math.inf

    def next_look(self, now: float, waiting: bool) -> float | None:
        """When to look at the limits again, or None if one is exceeded; no limit runs while the session is `waiting`.

        One is exceeded at the second look: when the process continues after it was stopped, the event loop runs its
        timers before it reads what has arrived meanwhile.
        """
        due = now + self.limits.idle if waiting else self._due()
        if due > now:
            self.late = False
            return due
        if self.late:
            return None
        self.late = True
        return now + LAST_LOOK_S

    def _due(self) -> float:
        return min(
            self.heard + self.limits.idle, self.message_until, self.opened + self.limits.session
        )
