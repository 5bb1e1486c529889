"""Rate-limited log lines about wrong tokens: one per source network and minute, with a count."""

import asyncio
import logging
from collections import Counter

from protocol.ratelimit import network_of

logger = logging.getLogger(__name__)

_PERIOD_S = 60.0

_OTHERS = "others"
"""Source of the log line for all networks after the first ones."""


class RejectedTokens:
    """Counts requests with a wrong token by source network; at most `networks` of them are counted separately.

    The first of a network is logged immediately, and the number of further ones after a minute. Sources can be forged.
    """

    def __init__(self, networks: int = 100) -> None:
        self._networks = networks
        self._counts: Counter[str] = Counter()
        self._logged: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, source: str, count: int = 1) -> None:
        """Count requests; `source` is a numeric address."""
        network = network_of(source)
        if network not in self._logged:
            if len(self._logged) >= self._networks:
                network = _OTHERS
            if network not in self._logged:
                self._log(network, 1)
                self._logged.add(network)
                count -= 1
        self._counts[network] += count
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PERIOD_S, self._end_period)

    def close(self) -> None:
        """Log what has been counted, and stop."""
        if self._timer:
            self._timer.cancel()
            self._end_period()

    def _end_period(self) -> None:
        for network, count in self._counts.items():
            if count:
                self._log(network, count)
        self._counts.clear()
        self._logged.clear()
        self._timer = None

    @staticmethod
    def _log(network: str, count: int) -> None:
        logger.warning("Wrong token", extra={"source": network, "requests": count})
