"""Columns of the requests to a fleet and of the expected responses."""

import os
import socket
import sys

from protocol.address import Address
from protocol.dialect import Dialect
from protocol.message import NUMBERS, good_beginning
from protocol.mmsg import SOCKADDR_SIZES, pack_sockaddr
from protocol.peer import Peer
from protocol.template import RequestTemplate


def can_sweep(dialect: Dialect) -> bool:
    """Whether a dialect can be read in columns: header, identifier and status of its responses are contiguous."""
    values = [dialect.operations[command].value for command in dialect.reads]
    return (
        sys.platform == "linux"
        and dialect.matches_responses
        and dialect.request_identifier.size > 1
        and good_beginning(dialect) is not None
        and all(value is not None and value.size in NUMBERS for value in values)
    )


class SweepTable:
    """The requests to targets of one address family and dialect, prepared for any number of sweeps."""

    def __init__(self, dialect: Dialect, family: socket.AddressFamily) -> None:
        self.dialect, self.family = dialect, family
        self.peers: list[Peer] = []
        self.templates: list[RequestTemplate] = []
        self.targets: dict[Address, int] = {}
        """Index of each target by its address."""
        self.width = len(dialect.reads)
        """Requests to each target."""
        self.requests, self.keys, self.sockaddrs = bytearray(), bytearray(), bytearray()
        """One for each request; identifiers are zero."""
        self.before, self.after = good_beginning(dialect) or (b"", b"")
        self.sockaddr_size = SOCKADDR_SIZES[family]
        self.key_size = self.sockaddr_size + dialect.status.end
        result_at = self.sockaddr_size + dialect.result.offset
        self.result = slice(result_at, result_at + dialect.result.size)
        """Position of RES in a record of address and datagram."""

    def add(self, peer: Peer, template: RequestTemplate) -> None:
        self.targets[peer.numeric[0]] = len(self.peers)
        self.peers.append(peer)
        self.templates.append(template)
        sockaddr = pack_sockaddr.__wrapped__(peer.numeric[0])  # used once, so not cached
        gap = bytes(self.dialect.request_identifier.size)
        self.requests += b"".join([one.before + gap + one.after for one in template.entries])
        self.keys += (sockaddr + self.before + gap + self.after) * self.width
        self.sockaddrs += sockaddr * self.width

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
            if len(set(cut)) == len(cut):  # otherwise a target has duplicate identifiers
                return (
                    bytes(requests),
                    cut,
                    [drawn[at : at + size] for at in range(0, len(drawn), size)],
                )
