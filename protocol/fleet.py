"""Asking ten thousand servers at once (`read_all`), over few sockets and with few system calls."""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from random import SystemRandom

from protocol.bulk import BulkSockets
from protocol.client import Peer, Reading, connect, reading_of
from protocol.errors import Discard, UnknownName
from protocol.exchange import Exchange
from protocol.inquiry import Inquiry, Questions
from protocol.turns import Turn, parts

_SOCKETS_OF_THEIR_OWN = 100
"""For targets whose answers look alike: each takes a socket while it is asked, the others wait."""


async def read_all(
    peers: Sequence[Peer],
    *,
    deadline: float,
    attempts: int = 3,
    strays: Counter[Discard] | None = None,
) -> list[Reading]:
    """Read every peer's counters at once, over few sockets; the readings come in the peers' order.

    A silent peer costs the others nothing. `strays` counts what came from addresses that were not asked.
    """
    alone = [peer for peer in peers if peer.dialect.identifier_echo == "never"]
    together = [peer for peer in peers if peer.dialect.identifier_echo != "never"]
    exchange = Exchange(sockets=BulkSockets)
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


async def _read_alone(
    peer: Peer, deadline: float, attempts: int, at_once: asyncio.Semaphore
) -> Reading:
    async with at_once, connect(peer) as connection:
        return await connection.read(deadline=deadline, attempts=attempts)


async def _read_together(
    exchange: Exchange, peers: Sequence[Peer], deadline: float, attempts: int
) -> dict[Peer, Reading]:
    form, random = _Form(), _Random()
    readings: dict[Peer, Reading] = {}
    inquiries: dict[Peer, Inquiry] = {}

    async def look_up(peer: Peer) -> None:
        try:
            addresses = await peer.addresses(deadline)
        except UnknownName as error:
            readings[peer] = Reading(error=error)
            exchange.join(None)
        else:
            inquiries[peer] = peer.inquiry(addresses, form.questions(peer), attempts, random)
            exchange.join(inquiries[peer])

    turn = Turn()
    for part in parts(peers):
        for peer in part:
            if peer.numeric:
                asked = form.questions(peer)
                inquiries[peer] = peer.inquiry(peer.numeric, asked, attempts, random)
        if turn.over:
            await turn.others()
    named = [peer for peer in peers if not peer.numeric]
    async with asyncio.TaskGroup() as group:
        # A name that is slow to resolve delays its own target alone.
        for peer in named:
            group.create_task(look_up(peer))
        await exchange.run(list(inquiries.values()), deadline, awaited=len(named))
    for part in parts(tuple(inquiries)):
        for peer in part:
            # One by one: to let go of a whole fleet's at once takes 50 ms.
            readings[peer] = reading_of(inquiries.pop(peer))
        if turn.over:
            await turn.others()
    return readings


class _Form:
    """What is asked of a fleet: the same bytes of all servers that have a token and a dialect in common."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], Questions] = {}

    def questions(self, peer: Peer) -> Questions:
        key = peer.token.octets, id(peer.dialect)
        if key not in self._known:
            self._known[key] = Questions.of(peer.token, peer.dialect, peer.dialect.reads)
        return self._known[key]


class _Random(SystemRandom):
    """The system's randomness, fetched for hundreds of draws in one system call."""

    _MANY = 4096

    def __init__(self) -> None:
        super().__init__()
        self._octets, self._at = b"", 0

    def randbytes(self, n: int) -> bytes:
        if self._at + n > len(self._octets):
            self._octets, self._at = os.urandom(max(n, self._MANY)), 0
        self._at += n
        return self._octets[self._at - n : self._at]

    def random(self) -> float:
        return int.from_bytes(self.randbytes(6)) / (1 << 48)
