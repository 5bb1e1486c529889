"""Network that loses, duplicates, delays, reorders, corrupts and forges datagrams.

Every address of 127.0.0.0/8 has a server with different values on it.
"""

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from random import Random

from protocol.dialects import V0
from protocol.message import Request, Response, Value
from protocol.server import respond
from protocol.token import Token
from protocol.vocabulary import FLAGS, Command, Status
from tests.support.every_address import every_address, received, send

Corruption = Callable[[bytes], bytes]

Flow = tuple[tuple[str, int], str]
"""A client's socket address, and the address of the server that it queries."""


@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """Shares of the datagrams in each direction: lost ones first, then corrupted or duplicated ones of the rest."""

    lost: float
    corrupted: float
    duplicated: float
    forged: float
    """Forgeries for each request."""
    delay: float
    """Maximum delay in seconds, drawn for each copy: datagrams are reordered."""

    def answered(self, attempts: int) -> float:
        """The share of commands that are answered in some attempt.

        A request arrives with s = (1 - lost)(1 - corrupted), and so does its answer. A duplicated request has two
        answers, and one is enough.
        """
        arrives = (1 - self.lost) * (1 - self.corrupted)
        one, two = arrives, 1 - (1 - arrives) ** 2
        attempt: float = arrives * ((1 - self.duplicated) * one + self.duplicated * two)
        missed: float = (1 - attempt) ** attempts
        return 1 - missed


def value(address: str, command: Command) -> Value:
    """What the server at `address` reports: different for each address and command."""
    number = int(IPv4Address(address))
    return bool(number % 2) if command in FLAGS else number * 16 + V0.operations[command].code


class FaultyNetwork:
    """One socket that acts as every server, with network faults in both directions."""

    def __init__(
        self, opened: socket.socket, token: Token, faults: NetworkFaults, random: Random
    ) -> None:
        self._socket = opened
        self._token = token
        self._faults = faults
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._identifiers: defaultdict[Flow, set[int]] = defaultdict(set)

    def receive(self, datagram: bytes, address: str, client: tuple[str, int]) -> None:
        flow = (client, address)
        self._identifiers[flow].add(Request.decode(datagram).identifier)
        if self._random.random() < self._faults.forged:
            self._later(self._forge, flow)
        for copy in self._transmit(datagram, [self._change_signature]):
            self._later(self._answer, flow, copy)

    def _answer(self, flow: Flow, datagram: bytes) -> None:
        _, address = flow
        response = respond(datagram, self._token, lambda command: value(address, command))
        if response is None:
            return
        change_identifier = partial(self._change_identifier, self._identifiers[flow])
        corruptions: list[Corruption] = [
            self._change_signature,
            self._truncate,
            self._extend,
            self._change_version,
            self._change_status,
            change_identifier,
        ]
        for copy in self._transmit(response.encode(), corruptions):
            self._later(self._send, flow, copy)

    def _transmit(self, datagram: bytes, corruptions: Sequence[Corruption]) -> list[bytes]:
        if self._random.random() < self._faults.lost:
            return []
        if self._random.random() < self._faults.corrupted:
            return [self._random.choice(corruptions)(datagram)]
        return [datagram] * (2 if self._random.random() < self._faults.duplicated else 1)

    # A corrupted RES is not among these: only UDP's checksum detects it, the protocol does not.

    def _change_signature(self, datagram: bytes) -> bytes:
        return bytes([datagram[0] ^ self._random.randint(1, 255)]) + datagram[1:]

    def _truncate(self, datagram: bytes) -> bytes:
        return datagram[: self._random.randrange(len(datagram))]

    def _extend(self, datagram: bytes) -> bytes:
        return datagram + self._random.randbytes(self._random.randint(1, 50))

    def _change_version(self, datagram: bytes) -> bytes:
        return datagram[:2] + bytes([self._random.randint(1, 255)]) + datagram[3:]

    def _change_status(self, datagram: bytes) -> bytes:
        return datagram[:5] + bytes([self._random.randint(6, 255)]) + datagram[6:]

    def _change_identifier(self, identifiers: Set[int], datagram: bytes) -> bytes:
        """An off-path attacker has to guess RIDs; here every guess is wrong, so that tests are deterministic."""
        while (identifier := self._random.randrange(1 << 16)) in identifiers:
            pass
        return datagram[:3] + identifier.to_bytes(2) + datagram[5:]

    def _forge(self, flow: Flow) -> None:
        """Good answers with a wrong number: one with a wrong RID, one from a wrong address."""
        client, _ = flow
        identifiers = self._identifiers[flow]
        identifier = self._random.choice(sorted(identifiers))
        forged = Response(identifier, Status.DONE, self._random.randbytes(8)).encode()
        self._send(flow, self._change_identifier(identifiers, forged))
        self._send((client, f"127.99.0.{self._random.randint(1, 254)}"), forged)

    def _later(self, function: Callable[..., None], *arguments: object) -> None:
        self._loop.call_later(self._random.uniform(0, self._faults.delay), function, *arguments)

    def _send(self, flow: Flow, datagram: bytes) -> None:
        client, address = flow
        try:
            send(self._socket, datagram, address, client)
        except BlockingIOError:  # the send buffer is full; this network drops only by its shares
            self._loop.call_later(0.001, self._send, flow, datagram)
        except OSError:
            pass  # the client has closed its port


@asynccontextmanager
async def faulty_network(token: Token, faults: NetworkFaults, seed: int) -> AsyncIterator[int]:
    """Yields the port of every server."""
    with every_address() as opened:
        network = FaultyNetwork(opened, token, faults, Random(seed))
        with received(opened, network.receive):
            yield opened.getsockname()[1]
            # What is still under way must not find the socket closed.
            await asyncio.sleep(faults.delay)
