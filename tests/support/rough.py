"""A rough network: it loses, doubles, delays, reorders and corrupts datagrams, and strangers on it forge.

Behind it, at every address of 127.0.0.0/8, is a server with values of its own.
"""

import asyncio
import socket
import struct
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

_PACKET_INFO = struct.Struct("=I4s4s")
"""struct in_pktinfo: the interface, the local address, the address in the header (ip(7))."""

_IP_PKTINFO = 8

Damage = Callable[[bytes], bytes]

Way = tuple[tuple[str, int], str]
"""A client's socket address, and the address of the server that it asks."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares of the datagrams in each direction: first some are lost, then some of the rest corrupted or doubled."""

    lost: float
    corrupted: float
    doubled: float
    forged: float
    """Forgeries for each request."""
    delay: float
    """Seconds at most; each copy has its own, which reorders them."""

    def answered(self, attempts: int) -> float:
        """The share of commands that are answered in some attempt.

        A request arrives with s = (1 - lost)(1 - corrupted), and so does its answer. A doubled request has two
        answers, of which one is enough.
        """
        arrives = (1 - self.lost) * (1 - self.corrupted)
        one, two = arrives, 1 - (1 - arrives) ** 2
        attempt: float = arrives * ((1 - self.doubled) * one + self.doubled * two)
        missed: float = (1 - attempt) ** attempts
        return 1 - missed


def value(address: str, command: Command) -> Value:
    """What the server at `address` says: different for each address and command."""
    number = int(IPv4Address(address))
    return bool(number % 2) if command in FLAGS else number * 16 + V0.operations[command].code


class RoughNetwork:
    """One socket that is every server, and the weather between them and the clients."""

    def __init__(
        self, opened: socket.socket, token: Token, weather: Weather, random: Random
    ) -> None:
        self._socket = opened
        self._token = token
        self._weather = weather
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._asked: defaultdict[Way, set[int]] = defaultdict(set)

    def drain(self) -> None:
        while True:
            try:
                datagram, ancillary, _, client = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            address = str(IPv4Address(_PACKET_INFO.unpack(ancillary[0][2])[1]))
            way = (client, address)
            self._asked[way].add(Request.decode(datagram).identifier)
            if self._random.random() < self._weather.forged:
                self._later(self._forge, way)
            for copy in self._carry(datagram, [self._foreign]):
                self._later(self._answer, way, copy)

    def _answer(self, way: Way, datagram: bytes) -> None:
        _, address = way
        response = respond(datagram, self._token, lambda command: value(address, command))
        if response is None:
            return
        renumber = partial(self._renumber, self._asked[way])
        damages: list[Damage] = [
            self._foreign,
            self._cut,
            self._stretch,
            self._age,
            self._restate,
            renumber,
        ]
        for copy in self._carry(response.encode(), damages):
            self._later(self._send, way, copy)

    def _carry(self, datagram: bytes, damages: Sequence[Damage]) -> list[bytes]:
        if self._random.random() < self._weather.lost:
            return []
        if self._random.random() < self._weather.corrupted:
            return [self._random.choice(damages)(datagram)]
        return [datagram] * (2 if self._random.random() < self._weather.doubled else 1)

    # A damaged RES is not among these: nothing in the protocol could tell it; UDP's checksum does.

    def _foreign(self, datagram: bytes) -> bytes:
        return bytes([datagram[0] ^ self._random.randint(1, 255)]) + datagram[1:]

    def _cut(self, datagram: bytes) -> bytes:
        return datagram[: self._random.randrange(len(datagram))]

    def _stretch(self, datagram: bytes) -> bytes:
        return datagram + self._random.randbytes(self._random.randint(1, 50))

    def _age(self, datagram: bytes) -> bytes:
        return datagram[:2] + bytes([self._random.randint(1, 255)]) + datagram[3:]

    def _restate(self, datagram: bytes) -> bytes:
        return datagram[:5] + bytes([self._random.randint(6, 255)]) + datagram[6:]

    def _renumber(self, asked: Set[int], datagram: bytes) -> bytes:
        """Who sees nothing can only guess RIDs; here all guesses are wrong, so that no test is luck."""
        while (identifier := self._random.randrange(1 << 16)) in asked:
            pass
        return datagram[:3] + identifier.to_bytes(2) + datagram[5:]

    def _forge(self, way: Way) -> None:
        """Good answers with a wrong number: one with a wrong RID, one from a wrong address."""
        client, _ = way
        asked = self._asked[way]
        identifier = self._random.choice(sorted(asked))
        forged = Response(identifier, Status.DONE, self._random.randbytes(8)).encode()
        self._send(way, self._renumber(asked, forged))
        self._send((client, f"127.99.0.{self._random.randint(1, 254)}"), forged)

    def _later(self, act: Callable[..., None], *arguments: object) -> None:
        self._loop.call_later(self._random.uniform(0, self._weather.delay), act, *arguments)

    def _send(self, way: Way, datagram: bytes) -> None:
        client, address = way
        source = _PACKET_INFO.pack(0, IPv4Address(address).packed, bytes(4))
        try:
            self._socket.sendmsg([datagram], [(socket.IPPROTO_IP, _IP_PKTINFO, source)], 0, client)
        except (
            BlockingIOError
        ):  # the send buffer is full; this network loses only what it means to
            self._loop.call_later(0.001, self._send, way, datagram)
        except OSError:
            pass  # the client has closed its port


@asynccontextmanager
async def rough_network(token: Token, weather: Weather, seed: int) -> AsyncIterator[int]:
    """Yields the port that is every server's."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        opened.bind(("0.0.0.0", 0))
        network = RoughNetwork(opened, token, weather, Random(seed))
        loop.add_reader(opened, network.drain)
        try:
            yield opened.getsockname()[1]
            await asyncio.sleep(
                weather.delay
            )  # what is still under way must not find the socket closed
        finally:
            loop.remove_reader(opened)
