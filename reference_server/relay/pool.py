"""Connections to the next hop: kept between messages, bounded in number."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from protocol.address import HostPort
from protocol.errors import UnknownName
from protocol.resolver import Resolver
from reference_server.relay.connection import Connection, Unavailable
from reference_server.relay.events import NEXT_HOP_UNAVAILABLE, Finished, Lost
from reference_server.relay.next_hop import NextHop
from reference_server.relay.transaction import Transaction

_IDLE_S = 10.0
"""Seconds that a connection is kept without a message. Each occupies a process of a Postfix."""

_MESSAGES = 100
"""Messages of one connection, so that a hop behind a load balancer gets new ones."""

_CONNECT_S = 10.0
"""Seconds to look up the name, to connect, and to be greeted."""

_RESOLVER_THREADS = 2
"""For one name; a look-up that hangs delays mail to this hop, and nothing else."""


class ConnectionPool:
    """At most `size` connections; more messages wait for one, first come, first served."""

    def __init__(self, hop: NextHop, hostname: str, size: int) -> None:
        self._hop = hop
        self._resolver = Resolver(_RESOLVER_THREADS)
        self._hostname = hostname
        self._free = asyncio.Semaphore(size)
        self._idle: deque[tuple[Connection, asyncio.TimerHandle]] = deque()
        self._quitting: set[asyncio.Task[None]] = set()

    async def send(
        self, transaction: Transaction, content: AsyncIterator[bytes]
    ) -> Finished | Lost:
        """Sends a message over a kept connection or a new one.

        The server may have closed a kept connection: then nothing of the message has arrived, and the others and
        finally a new one are tried. `content` is read at most once. Raises what `Connection.send` raises.
        """
        while True:
            try:
                connection = await self.acquire()
            except Unavailable as error:
                return Lost(str(error), (NEXT_HOP_UNAVAILABLE,) * len(transaction.recipients))
            kept, watched = connection.messages > 0, _Watched(content)
            try:
                result = await connection.send(transaction, watched)
            finally:
                self.release(connection)
            if isinstance(result, Finished) or watched.read or not kept:
                return result

    async def acquire(self) -> Connection:
        """Returns a connection for one message, which has to be released. Raises `Unavailable`."""
        await self._free.acquire()
        try:
            if connection := self._take_idle():
                return connection
            return await self._connect()
        except BaseException:
            self._free.release()
            raise

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(_CONNECT_S):
                addresses = await self._addresses()
                return await Connection.open(self._hop.protocol, addresses, self._hostname)
        except TimeoutError:
            raise Unavailable("connection timed out") from None
        except UnknownName as error:
            raise Unavailable(str(error)) from None

    async def _addresses(self) -> Sequence[Path | HostPort]:
        """Paths, or numeric addresses in the system's order."""
        where = self._hop.address
        if isinstance(where, Path):
            return (where,)
        found = await self._resolver.resolve(where, _CONNECT_S)
        return [HostPort(str(address[0]), where.port) for address in found]

    def release(self, connection: Connection) -> None:
        """Keeps a connection for the next message, or closes it if it is not usable any more."""
        if not connection.usable:
            connection.abort()
        elif connection.messages >= _MESSAGES:
            self._quit(connection)
        else:
            self._keep(connection)
        self._free.release()

    async def close(self) -> None:
        """Ends the connections that are kept; call it when no message is being sent."""
        while connection := self._take_idle():
            self._quit(connection)
        if self._quitting:
            await asyncio.wait(self._quitting)
        self._resolver.close()

    def _keep(self, connection: Connection) -> None:
        timer = asyncio.get_running_loop().call_later(_IDLE_S, self._expire, connection)
        self._idle.append((connection, timer))

    def _take_idle(self) -> Connection | None:
        """Returns the connection that was used last: the others may expire."""
        while self._idle:
            connection, timer = self._idle.pop()
            timer.cancel()
            if connection.usable:
                return connection
            connection.abort()
        return None

    def _expire(self, connection: Connection) -> None:
        self._idle = deque(entry for entry in self._idle if entry[0] is not connection)
        self._quit(connection)

    def _quit(self, connection: Connection) -> None:
        task = asyncio.create_task(connection.quit())
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)


class _Watched:
    """An iterator that records whether it was read."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self.read = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self.read = True
        return await anext(self._content)
