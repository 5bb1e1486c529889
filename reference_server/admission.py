"""Limits simultaneous sessions, in total and per client network."""

from collections import Counter

from protocol.ratelimit import network_of
from reference_server.limits import ServerLimits


class Admission:
    """Counts the sessions that are open, within `limits`; a client stays counted until its last message is answered."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._sessions = 0
        self._per_network: Counter[str] = Counter()

    @property
    def sessions(self) -> int:
        return self._sessions

    def admit(self, client: str) -> bool:
        """Count the client's session unless a limit is reached; returns whether it was."""
        network = network_of(client)
        if (
            self._sessions >= self._limits.connections
            or self._per_network[network] >= self._limits.connections_per_address
        ):
            return False
        self._sessions += 1
        self._per_network[network] += 1
        return True

    def release(self, client: str) -> None:
        """Undo one `admit` of this client."""
        network = network_of(client)
        self._sessions -= 1
        self._per_network[network] -= 1
        if not self._per_network[network]:
            del self._per_network[network]
