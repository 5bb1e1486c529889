"""The requests to a fleet as columns, and the responses that are expected."""

import os
import socket
import sys
from collections.abc import Sequence

from protocol.client import Peer
from protocol.message import good_beginning
from protocol.mmsg import pack_sockaddr
from protocol.template import RequestTemplate

NUMBERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Numbers by their size, as `struct` names them."""


def can_sweep(peer: Peer) -> bool:
    """Whether a target can be read by columns: it has one numeric address, and its dialect a regular layout."""
    dialect = peer.dialect
    values = [dialect.operations[command].value for command in dialect.reads]
    return (
        sys.platform == "linux"
        and len(peer.numeric) == 1
        and dialect.tells_apart
        and dialect.request_identifier.size > 1
        and good_beginning(dialect) is not None
        and all(value is not None and value.size in NUMBERS for value in values)
    )


class SweepTable:
    """The requests to targets of one address family and dialect, prepared for any number of sweeps."""

    def __init__(self, peers: Sequence[Peer], templates: Sequence[RequestTemplate]) -> None:
        self.peers, self.templates = peers, templates
        self.dialect = dialect = peers[0].dialect
        self.family = socket.AF_INET if len(peers[0].numeric[0]) == 2 else socket.AF_INET6
        self.width = len(dialect.reads)
        """Requests to each target."""
        gap = bytes(dialect.request_identifier.size)
        self.before, self.after = good_beginning(dialect) or (b"", b"")
        requests, keys, sockaddrs = [], [], []
        for peer, template in zip(peers, templates, strict=True):
            sockaddr = pack_sockaddr(peer.numeric[0])
            requests += [one.before + gap + one.after for one in template.entries]
            keys.append((sockaddr + self.before + gap + self.after) * self.width)
            sockaddrs.append(sockaddr * self.width)
        self.requests, self.keys = bytearray(b"".join(requests)), bytearray(b"".join(keys))
        self.sockaddrs = b"".join(sockaddrs)
        self.sockaddr_size = len(sockaddrs[0]) // self.width
        self.key_size = self.sockaddr_size + dialect.status.end
        result_at = self.sockaddr_size + dialect.result.offset
        self.result = slice(result_at, result_at + dialect.result.size)
        """Where RES is in a record of address and datagram."""

    def numbered(self, first: int, end: int) -> tuple[bytes, list[bytes], list[bytes]]:
        """Draws identifiers for some requests; returns the requests, the keys of their responses, the identifiers."""
        place, size = self.dialect.request_identifier, self.dialect.request_identifier.size
        key_at = self.sockaddr_size + self.dialect.response_identifier.offset
        length = self.dialect.request_length
        requests = self.requests[first * length : end * length]
        keys = self.keys[first * self.key_size : end * self.key_size]
        while True:
            drawn = os.urandom(size * (end - first))
            for octet in range(size):
                requests[place.offset + octet :: length] = drawn[octet::size]
                keys[key_at + octet :: self.key_size] = drawn[octet::size]
            whole, step = bytes(keys), self.key_size
            cut = [whole[at : at + step] for at in range(0, len(whole), step)]
            if len(set(cut)) == len(cut):  # else a target has an identifier twice
                return (
                    bytes(requests),
                    cut,
                    [drawn[at : at + size] for at in range(0, len(drawn), size)],
                )
