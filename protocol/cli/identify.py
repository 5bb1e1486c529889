"""Which dialect a server speaks, found with questions that are harmless in every known one.

The same command byte reads in one dialect and writes in another, and a server may look at neither the signature nor
the length. So the only command sent is 00, which reads everywhere, with a token of zeros: wherever another dialect
looks for its command in such a datagram, it finds that same zero, or nothing. "Authentication failed" proves a
dialect as well as an answer does, and no secret goes to a server that nobody knows yet.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.address import HostPort
from protocol.client import Peer, Reading, connect
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.errors import InvalidResponses, Refused
from protocol.token import Token
from protocol.vocabulary import Command


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server at `where` said to the question of one dialect."""

    where: HostPort
    dialect: Dialect
    reading: Reading

    @property
    def fits(self) -> bool:
        """Whether the answer was one of this dialect, be it a refusal."""
        return self.reading.error is None or isinstance(self.reading.error, Refused)

    @property
    def foreign(self) -> bool:
        """Whether something answered, in no way that this dialect knows."""
        return isinstance(self.reading.error, InvalidResponses)


async def probe(target: str, timeout: float) -> list[Probe]:
    """Ask a server in every known dialect; where the target names no port, at every port that is some dialect's own.

    Raises `ValueError` for a target that is no address.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    ports = sorted({dialect.default_port for dialect in DIALECTS.values()})
    places = dict.fromkeys(HostPort.parse(target, port) for port in ports)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_ask(where, dialect, deadline))
            for where in places
            for dialect in DIALECTS.values()
        ]
    return [task.result() for task in tasks]


async def _ask(where: HostPort, dialect: Dialect, deadline: float) -> Probe:
    peer = Peer(where, Token(bytes(dialect.token_length)), dialect)
    async with connect(peer) as connection:
        reading = await connection.ask(Command.CONNECTIONS, deadline=deadline)
    return Probe(where, dialect, reading)


def as_text(probes: Sequence[Probe]) -> str:
    """What speaks which dialect, or, where nothing does, what became of each address."""
    if fitting := [one for one in probes if one.fits]:
        return "\n".join(f"{one.where} speaks {one.dialect.name}" for one in fitting)
    said = {one.where: str(one.reading.error) for one in probes}
    said |= {one.where: "answers, in none of the known dialects" for one in probes if one.foreign}
    return "\n".join(f"{where}: {text}" for where, text in said.items())


def as_json(target: str, probes: Sequence[Probe]) -> dict[str, object]:
    """Every dialect that fits, and every question asked with what became of it."""
    return {
        "target": target,
        "dialects": [
            {"address": str(one.where), "dialect": one.dialect.name} for one in probes if one.fits
        ],
        "probes": [
            {
                "address": str(one.where),
                "dialect": one.dialect.name,
                "fits": one.fits,
                "said": str(one.reading.error or "done"),
            }
            for one in probes
        ],
    }
