"""Datagrams for reports and traces, without the token.

Requests are masked by position: AUTH of every request, even of one that carries a wrong token. Responses may repeat
any part of the token anywhere, so they are masked by content: each run of three or more bytes of the token, forwards or
backwards.
"""

from dataclasses import dataclass
from itertools import takewhile

from protocol.dialect import Dialect
from protocol.token import Token

_SHORTEST_RUN = 3
"""Bytes; shorter runs of the token occur in datagrams by chance."""

_SHOWN_BYTES = 64


@dataclass(frozen=True, slots=True)
class Mask:
    """Hides the token of one server in what was sent to it and received from it."""

    token: Token
    dialect: Dialect

    def sent(self, datagram: bytes) -> str:
        """A request in hexadecimal with AUTH as `**` for each byte."""
        return _spell(datagram, self._authentication)

    def received(self, datagram: bytes, sent: bytes = b"") -> str:
        """A datagram in hexadecimal with every part of the token as `**` for each byte."""
        return _spell(datagram, self._secret(datagram, sent))

    def repeats_token(self, datagram: bytes, sent: bytes = b"") -> bool:
        """Whether a datagram received has a part of the token in it, so that nothing in it may be shown."""
        return bool(self._secret(datagram, sent))

    def starred(self, datagram: bytes, *, is_request: bool) -> bytes:
        """The datagram with an asterisk in the place of each byte of the token."""
        hidden = self._authentication if is_request else self._secret(datagram, b"")
        octets = bytearray(datagram)
        for position in hidden:
            octets[position : position + 1] = b"*" * (position < len(octets))
        return bytes(octets)

    @property
    def _authentication(self) -> set[int]:
        place = self.dialect.authentication
        return set(range(place.offset, place.end))

    def _secret(self, datagram: bytes, sent: bytes) -> set[int]:
        """The positions of the bytes to hide. `sent` is the request: its beginning may come back."""
        place, octets = self.dialect.authentication, self.token.octets
        hidden = set(range(place.offset, min(_common(datagram, sent), place.end)))
        if datagram[place.span] == octets:  # also a token that is too short for a run
            hidden.update(range(place.offset, place.end))
        for text in (octets, octets[::-1]):
            for start in range(len(text) - _SHORTEST_RUN + 1):
                run = text[start : start + _SHORTEST_RUN]
                if not any(run):
                    continue  # zeros are everywhere
                found = datagram.find(run)
                while found >= 0:
                    hidden.update(range(found, found + len(run)))
                    found = datagram.find(run, found + 1)
        return hidden


def _common(one: bytes, other: bytes) -> int:
    """Length of the common prefix of two datagrams."""
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in shared)


def _spell(datagram: bytes, hidden: set[int]) -> str:
    if not datagram:
        return "an empty datagram"
    digits = "".join(
        "**" if position in hidden else f"{octet:02x}"
        for position, octet in enumerate(datagram[:_SHOWN_BYTES])
    )
    return digits if len(datagram) <= _SHOWN_BYTES else f"{digits}… ({len(datagram)} bytes)"
