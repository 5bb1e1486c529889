"""Asking single servers, many of them at about the same time: their questions share sockets and system calls.

A socket of its own for each would take a third of what asking takes. The sockets, and so their ports, which a forger
would have to guess, last for a second and the questions begun in it; then there are others.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from protocol.bulk import BulkSockets
from protocol.client import Peer, Reading, connect, reading_of
from protocol.dialect import Dialect
from protocol.entropy import PooledRandom
from protocol.errors import DiscardReason, UnknownName
from protocol.multiplexer import Multiplexer
from protocol.template import Wording

logger = logging.getLogger(__name__)


class Reader:
    """BatchResponder one server at a time for whoever asks, in one event loop. It has nothing to be closed.

    Sockets take new questions for `lifetime` seconds.
    """

    def __init__(self, lifetime: float = 1.0) -> None:
        self._lifetime = lifetime
        self._exchange: Multiplexer | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._strays: Counter[DiscardReason] = Counter()
        self._wording = Wording()
        self._random = PooledRandom()

    async def read(self, peer: Peer, *, deadline: float, attempts: int = 3) -> Reading:
        """Everything that the peer's dialect declares as a read."""
        if not _can_share(peer.dialect):
            async with connect(peer) as connection:
                return await connection.read(deadline=deadline, attempts=attempts)
        try:
            addresses = await peer.addresses(deadline)
        except UnknownName as error:
            return Reading(error=error)
        asked = self._wording.reads(peer.token, peer.dialect)
        query = peer.query(addresses, asked, attempts, deadline, self._random)
        await self._current().end_of(query)
        return reading_of(query)

    def take_strays(self) -> Mapping[DiscardReason, int]:
        """What came from addresses that were not asked, or too late for a reading, since this was called last."""
        if self._exchange and self._exchange.strays:
            self._strays.update(self._exchange.strays)
            self._exchange.strays.clear()
        if not self._strays:
            return {}
        strays, self._strays = self._strays, Counter()
        return strays

    def _current(self) -> Multiplexer:
        if self._exchange is None:
            self._exchange = exchange = Multiplexer(sockets=BulkSockets)
            exchange.expect()  # whoever asks next
            asyncio.get_running_loop().call_later(self._lifetime, self._retire, exchange)
            task = asyncio.create_task(self._carry(exchange))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)
        return self._exchange

    def _retire(self, exchange: Multiplexer) -> None:
        if self._exchange is exchange:
            self._exchange = None
            exchange.join(None)

    async def _carry(self, exchange: Multiplexer) -> None:
        try:
            await exchange.carry()
        except (
            Exception
        ):  # a defect: those who wait are cancelled, the next ones get another exchange
            logger.exception("questions given up")
            self._exchange = None
        finally:
            exchange.close()
            self._strays.update(exchange.strays)


def _can_share(dialect: Dialect) -> bool:
    """Whether questions to one address may follow each other out of one port.

    What is late for one of them must not be taken for the next one's, and of 256 identifiers none would soon be left.
    """
    return dialect.tells_apart and dialect.request_identifier.size > 1
