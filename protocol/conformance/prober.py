"""The sockets over which a server is tested.

Theory of operation. After every datagram of a test follows a valid request from another port. Its response shows,
without a timeout, that the server has processed the datagram: a response that has not arrived by then, and a moment
later, does not come; and a server that does not respond to the valid request has stopped.
"""

import socket
from time import monotonic

from protocol.address import Address
from protocol.dialect import Dialect
from protocol.message import Request
from protocol.token import Token
from protocol.vocabulary import Command

_TRANSMISSIONS = 6
"""Transmissions of the valid request before the server counts as stopped."""

_LONGEST_BYTES = 2048


class Stopped(Exception):
    """The server does not respond to valid requests any more."""


class Prober:
    """One server. Times are in seconds.

    Without a response to a valid request for `timeout`, it has stopped. A response may arrive later than that to a
    request sent after it, by `grace` and two round trips.
    """

    def __init__(
        self, address: Address, token: Token, dialect: Dialect, timeout: float, grace: float
    ) -> None:
        self._address = address
        self._token = token
        self._dialect = dialect
        self._timeout = timeout
        self._least_grace = grace
        self.grace = grace

    def open(self) -> socket.socket:
        """A UDP socket connected to the server."""
        family = socket.AF_INET if len(self._address) == 2 else socket.AF_INET6
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.connect(self._address)
        return opened

    def synchronize(self, command: Command | None = None) -> bytes:
        """Send a valid request until it is answered; returns the response. Raises `Stopped`."""
        command = command or self._dialect.reads[0]
        code = self._dialect.operations[command].code
        valid = Request(0, self._token.octets, code).encode(self._dialect)
        with self.open() as witness:
            for _ in range(_TRANSMISSIONS):
                sent_at = monotonic()
                transmit(witness, valid)
                received = receive(witness, self._timeout / _TRANSMISSIONS)
                if received is not None:
                    self.grace = self._least_grace + 2 * (monotonic() - sent_at)
                    return received
        raise Stopped


def transmit(opened: socket.socket, datagram: bytes) -> None:
    """Send a datagram. Raises `Stopped` if the port was closed for an earlier one."""
    try:
        opened.send(datagram)
    except ConnectionRefusedError:
        raise Stopped from None


def receive(opened: socket.socket, seconds: float) -> bytes | None:
    """The next datagram, or None if none arrives in time. Raises `Stopped` if the port is closed."""
    opened.settimeout(max(seconds, 0))
    try:
        return opened.recv(_LONGEST_BYTES)
    except (TimeoutError, BlockingIOError):
        return None
    except ConnectionRefusedError:
        raise Stopped from None


def collect(opened: socket.socket, seconds: float, *, linger: bool = False) -> list[bytes]:
    """The datagrams that have arrived and the first that arrives within `seconds`, or, with `linger`, all of them."""
    found: list[bytes] = []
    until = monotonic() + seconds
    while (left := until - monotonic()) > 0:
        received = receive(opened, left if linger or not found else 0)
        if received is None:
            break
        found.append(received)
    return found
