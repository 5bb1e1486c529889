"""Asking ten thousand servers at once (`read_all`), over few sockets and with few system calls."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from protocol.bulk import BulkSockets
from protocol.client import Peer, Reading, connect, reading_of
from protocol.entropy import PooledRandom
from protocol.errors import DiscardReason, UnknownName
from protocol.multiplexer import Multiplexer
from protocol.query import Query
from protocol.template import Wording
from protocol.timeslice import Turn, parts

_SOCKETS_OF_THEIR_OWN = 100
"""For targets whose answers look alike: each takes a socket while it is asked, the others wait."""


async def read_all(
    peers: Sequence[Peer],
    *,
    deadline: float,
    attempts: int = 3,
    strays: Counter[DiscardReason] | None = None,
) -> list[Reading]:
    """Read every peer's counters at once, over few sockets; the readings come in the peers' order.

    A silent peer costs the others nothing. `strays` counts what came from addresses that were not asked, or too late
    to be counted with a reading.
    """
    alone = _to_ask_alone(peers)
    together = [peer for peer in peers if peer not in alone] if alone else peers
    exchange = Multiplexer(sockets=BulkSockets)
    try:
        async with asyncio.TaskGroup() as group:
            at_once = asyncio.Semaphore(_SOCKETS_OF_THEIR_OWN)
            apart = [
                group.create_task(_read_alone(peer, deadline, attempts, at_once)) for peer in alone
            ]
            joint = group.create_task(_read_together(exchange, together, deadline, attempts))
    finally:
        exchange.close()
    if strays is not None:
        strays.update(exchange.strays)
    found = joint.result()
    found |= {peer: task.result() for peer, task in zip(alone, apart, strict=True)}
    return [found[peer] for peer in peers]


def _to_ask_alone(peers: Sequence[Peer]) -> dict[Peer, None]:
    """Those whose answers may not tell which question they answer, where that is asked of an address twice."""
    unclear = [peer for peer in peers if not peer.dialect.tells_apart]
    if not unclear:
        return {}
    at = Counter(peer.where for peer in peers)
    return {
        peer: None
        for peer in unclear
        if peer.dialect.identifier_echo == "never" or at[peer.where] > 1
    }


async def _read_alone(
    peer: Peer, deadline: float, attempts: int, at_once: asyncio.Semaphore
) -> Reading:
    async with at_once, connect(peer) as connection:
        return await connection.read(deadline=deadline, attempts=attempts)


async def _read_together(
    exchange: Multiplexer, peers: Sequence[Peer], deadline: float, attempts: int
) -> dict[Peer, Reading]:
    wording, random = Wording(), PooledRandom()
    readings: dict[Peer, Reading] = {}
    queries: dict[Peer, Query] = {}

    async def look_up(peer: Peer) -> None:
        try:
            addresses = await peer.addresses(deadline)
        except UnknownName as error:
            readings[peer] = Reading(error=error)
            exchange.join(None)
        else:
            asked = wording.reads(peer.token, peer.dialect)
            queries[peer] = peer.query(addresses, asked, attempts, deadline, random)
            exchange.join(queries[peer])

    turn = Turn()
    for part in parts(peers):
        for peer in part:
            if peer.numeric:
                asked = wording.reads(peer.token, peer.dialect)
                queries[peer] = peer.query(peer.numeric, asked, attempts, deadline, random)
        if turn.over:
            await turn.others()
    named = [peer for peer in peers if not peer.numeric]
    async with asyncio.TaskGroup() as group:
        # A name that is slow to resolve delays its own target alone.
        for peer in named:
            group.create_task(look_up(peer))
        await exchange.run(list(queries.values()), awaited=len(named))
    for part in parts(tuple(queries)):
        for peer in part:
            # One by one: to let go of a whole fleet's at once takes 50 ms.
            readings[peer] = reading_of(queries.pop(peer))
        if turn.over:
            await turn.others()
    return readings
