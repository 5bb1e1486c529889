"""Non-blocking UDP sockets: one `transfer` sends the due datagrams and returns the received ones.

One unconnected socket per address family is used for any number of servers. Linux queues ICMP errors with the address
of the datagram that caused them (ip(7), IP_RECVERR), so a closed port is reported immediately, as on a connected
socket.
"""

import asyncio
import socket
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.address import Address
from protocol.errors import SHORTAGES, Shortage
from protocol.port import BatchPort, Port, Undelivered
from protocol.query import Outgoing

_RECEIVE_BUFFER = 1 << 22
_TRANSFER = 256
"""Maximum number of datagrams received in one transfer from each socket."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Result of one transfer. `drained`: no datagram is left in the sockets."""

    arrived: list[tuple[bytes, Address]] = field(default_factory=list)
    undelivered: list[Undelivered] = field(default_factory=list)
    drained: bool = True


class Sockets:
    """Sockets by address family, opened on first use; must be closed. `readable` is set when one is readable."""

    def __init__(
        self, readable: asyncio.Event, *, batched: bool = sys.platform == "linux"
    ) -> None:
        self._readable = readable
        self._batched = batched
        self._ports: dict[int, Port] = {}

    def close(self) -> None:
        for port in self._ports.values():
            asyncio.get_running_loop().remove_reader(port.opened)
            port.opened.close()
        self._ports.clear()

    def transfer(self, outgoing: Sequence[Outgoing]) -> Transfer:
        """Sends `outgoing` and receives what is waiting, up to a limit.

        Raises `Shortage` if a socket cannot be opened.
        """
        undelivered: list[Undelivered] = []
        alike: defaultdict[tuple[int, int], list[Outgoing]] = defaultdict(list)
        for one in outgoing:  # IPv4 addresses have two members
            alike[len(one[1]), len(one[0])].append(one)
        for group in alike.values():
            self.send(group, undelivered)
        arrived: list[tuple[bytes, Address]] = []
        drained = [self._receive(port, arrived, undelivered) for port in self._ports.values()]
        return Transfer(arrived, undelivered, all(drained))

    def send(self, outgoing: Sequence[Outgoing], undelivered: list[Undelivered]) -> None:
        """Sends datagrams of one length to addresses of one family. Raises `Shortage`."""
        try:
            port = self.open(socket.AF_INET if len(outgoing[0][1]) == 2 else socket.AF_INET6)
        except OSError as error:
            undelivered += [Undelivered(datagram, to, error) for datagram, to in outgoing]
            return
        first = 0
        while first < len(outgoing):
            try:
                sent, stopped = port.send(outgoing, first)
                first += sent
                if stopped:
                    port.receive_errors(undelivered)
            except BlockingIOError as error:  # the send buffer is full, for the others too
                undelivered += [
                    Undelivered(datagram, to, error) for datagram, to in outgoing[first:]
                ]
                return
            except OSError as error:
                # It may be a pending error about an earlier datagram: then this one is sent again.
                pending = error.errno not in SHORTAGES and port.receive_errors(undelivered)
                if not pending:
                    undelivered.append(Undelivered(*outgoing[first], error))
                    first += 1

    def open(self, family: socket.AddressFamily) -> Port:
        """The socket of a family. Raises `Shortage`, or `OSError` if the system does not support the family."""
        if port := self._ports.get(family):
            return port
        try:
            opened = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            if resource := SHORTAGES.get(error.errno or 0):
                raise Shortage(resource, f"{error.strerror}") from error
            raise
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        asyncio.get_running_loop().add_reader(opened, self._readable.set)
        self._ports[family] = (BatchPort if self._batched else Port)(opened)
        return self._ports[family]

    def _receive(
        self,
        port: Port,
        arrived: list[tuple[bytes, Address]],
        undelivered: list[Undelivered],
    ) -> bool:
        """Returns whether nothing more is waiting."""
        limit = len(arrived) + _TRANSFER
        while len(arrived) < limit:
            try:
                received = port.receive()
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                limit -= 1
                port.receive_errors(undelivered)
            else:
                arrived += received
                if len(received) < port.batch:
                    return True
        return False
