"""Parses `host:port` and numeric addresses; protocol/resolver.py resolves names."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

Address = tuple[str, int] | tuple[str, int, int, int]
"""Numeric socket address as Python's socket module has it: a tuple of two for IPv4, of four for IPv6."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host, by name or number, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Self:
        """Parse `host:port`, `[v6]:port`, `:port` (any address), and `host` where there is a default port.

        Raises `ValueError` with the problem and the accepted forms.
        """
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, port = text, "" if default_port is None else str(default_port)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(
                f"invalid address {text!r}: write an IPv6 address in brackets, [::1]:7030"
            )
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
            raise ValueError(
                f"invalid address {text!r}: expected host:port, with a port up to 65535"
            )
        if " " in host or not host.isprintable():  # no other space is printable
            raise ValueError(
                f"invalid address {text!r}: the host contains a space or a control character"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def numeric(where: HostPort) -> tuple[Address, ...]:
    """Returns the single address of a numeric host, without a look-up; empty for a name."""
    try:
        socket.inet_pton(socket.AF_INET, where.host)
    except (OSError, ValueError):
        return _other_numeric(where)
    return ((where.host, where.port),)  # getaddrinfo(3) would take ten times as long


def _other_numeric(where: HostPort) -> tuple[Address, ...]:
    """The same for IPv6, and for the rarer forms of IPv4, such as 127.1."""
    try:
        return unique_addresses(
            socket.getaddrinfo(
                where.host, where.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )
        )
    except (socket.gaierror, UnicodeError):
        return ()


def unique_addresses(found: Iterable[tuple[Any, ...]]) -> tuple[Address, ...]:
    """Returns the addresses of a getaddrinfo(3) result in their order, without duplicates."""
    unique = {entry[4]: None for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)}
    return tuple(unique)
