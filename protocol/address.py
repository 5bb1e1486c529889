"""Where a server is: `host:port` as people write it, and the numeric addresses behind it."""

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Self

from protocol.errors import UnknownName

Address = tuple[str, int] | tuple[str, int, int, int]
"""A numeric socket address as the system writes it: IPv4's two members or IPv6's four."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host, by name or number, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Self:
        """Read `host:port`, `[v6]:port`, `:port` (any address), and `host` where there is a default port.

        Raises `ValueError`, which says what is wrong and what would fit.
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
        if any(character.isspace() or not character.isprintable() for character in host):
            raise ValueError(
                f"invalid address {text!r}: the host contains a space or a control character"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def numeric(where: HostPort) -> tuple[Address, ...]:
    """The one address that is written in numbers, without asking anybody; empty for a name."""
    try:
        return _addresses(
            socket.getaddrinfo(
                where.host, where.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )
        )
    except (socket.gaierror, UnicodeError):
        return ()


async def resolve(where: HostPort, deadline: float) -> tuple[Address, ...]:
    """All addresses of a host, in the system's order. Raises `UnknownName`, also when the deadline comes first.

    A look-up that the deadline or a cancellation leaves behind ends in its thread, unheard.
    """
    if addresses := numeric(where):
        return addresses
    try:
        async with asyncio.timeout_at(deadline):
            look_up = partial(socket.getaddrinfo, where.host, where.port, type=socket.SOCK_DGRAM)
            found = await asyncio.get_running_loop().run_in_executor(_threads(), look_up)
    except TimeoutError:
        raise UnknownName(f"name resolution of {where.host} timed out") from None
    except socket.gaierror as error:
        raise UnknownName(f"cannot resolve {where.host}: {error.strerror}") from None
    except UnicodeError:
        raise UnknownName(f"cannot resolve {where.host!r}: not a valid host name") from None
    return _addresses(found)


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads for look-ups alone: a silent name server holds one up for seconds, and must hold up nothing else."""
    return ThreadPoolExecutor(32, thread_name_prefix="look-up")


def _addresses(found: Iterable[tuple[Any, ...]]) -> tuple[Address, ...]:
    unique = {entry[4]: None for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)}
    return tuple(unique)
