"""The addresses of a next hop, looked up in a thread of their own."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from protocol.address import HostPort
from reference_server.relay.next_hop import NextHop
from reference_server.threads import started_pool


class Resolver:
    """Resolves one name. A look-up that hangs delays mail to this hop, and nothing else."""

    def __init__(self, hop: NextHop) -> None:
        self._address = hop.address
        named = isinstance(hop.address, HostPort) and not _is_numeric(hop.address.host)
        self._thread = started_pool(1, "resolver") if named else None
        self._look_up: asyncio.Future[Sequence[HostPort]] | None = None

    async def addresses(self) -> Sequence[Path | HostPort]:
        """Returns the addresses in the system's order; callers at the same time share a look-up. Raises `OSError`."""
        if self._thread is None or isinstance(self._address, Path):
            return (self._address,)
        if self._look_up is None or self._look_up.done():
            loop = asyncio.get_running_loop()
            self._look_up = loop.run_in_executor(self._thread, _resolve, self._address)
        return await asyncio.shield(self._look_up)

    def close(self) -> None:
        """Ends the thread, once its look-up has ended."""
        if self._thread:
            self._thread.shutdown(wait=False)


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _resolve(address: HostPort) -> Sequence[HostPort]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"the name {address.host} is invalid") from None
    return [HostPort(str(sockaddr[0]), address.port) for *_, sockaddr in found]
