"""The peers of a fleet, divided into tables for sweeps and others that are read one by one."""

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from protocol.peer import Peer
from protocol.sweep_table import SweepTable, can_sweep
from protocol.template import RequestTemplate
from protocol.timeslice import batches, timeslices
from protocol.token import Token


@dataclass(frozen=True, slots=True)
class FleetTables:
    """A table for each address family and dialect with the numbers of its peers, and the numbers of the `others`."""

    peers: Sequence[Peer]
    tokens: Sequence[Token]
    tables: Sequence[tuple[Sequence[int], SweepTable]]
    others: Sequence[int]

    def is_of(self, peers: Sequence[Peer]) -> bool:
        """Whether these are the tables of `peers` with the tokens that they have now."""
        return self.peers is peers and self.tokens == [peer.token for peer in peers]

    @classmethod
    async def of(
        cls, peers: Sequence[Peer], template_of: Callable[[Peer], RequestTemplate]
    ) -> Self:
        """Peers with an address in common, or with a name, are among the others."""
        # Before the tables: a token that changes meanwhile must make them outdated.
        tokens = [peer.token for peer in peers]
        addresses = Counter(address for peer in peers for address in peer.numeric)
        tables: dict[tuple[int, int], tuple[list[int], SweepTable]] = {}
        others = []
        async for batch in timeslices(batches(range(len(peers)))):
            for number in batch:
                peer = peers[number]
                if len(peer.numeric) != 1 or addresses[peer.numeric[0]] > 1:
                    others.append(number)
                    continue
                key = len(peer.numeric[0]), id(peer.dialect)
                if key not in tables and can_sweep(peer.dialect):
                    family = socket.AF_INET if key[0] == 2 else socket.AF_INET6
                    tables[key] = [], SweepTable(peer.dialect, family)
                if key in tables:
                    tables[key][0].append(number)
                    tables[key][1].add(peer, template_of(peer))
                else:
                    others.append(number)
        return cls(peers, tokens, list(tables.values()), others)
