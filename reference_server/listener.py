"""Listening sockets: accepts sessions and shuts them down."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Any

from reference_server.connection import Connection
from reference_server.context import ServerContext
from reference_server.reply import UNAVAILABLE

logger = logging.getLogger(__name__)

_ACCEPT_BATCH = 20
"""Connections accepted in one iteration of the event loop."""

_RETRY_S = 1.0
"""Seconds until the next attempt when the system has no descriptor for a connection."""

_LAST_REPLY_S = 0.3
"""Seconds for clients to read that the server ends, and to close."""


class Listener:
    """Accepts connections on any number of sockets, each with the context of its sessions.

    It does not use asyncio's servers: these accept whatever comes, and where the system has no descriptor left they log
    a traceback every second. At most `sockets` connections are open; further ones wait in the kernel.
    """

    def __init__(self, sockets: int) -> None:
        self._sockets = sockets
        self._loop = asyncio.get_running_loop()
        self._listening: dict[socket.socket, ServerContext] = {}
        self._open: dict[Connection, asyncio.Task[object]] = {}
        """Connections whose sockets are open, and the task that gives each its socket."""
        self._unfinished: set[Connection] = set()
        """Connections whose client is there or whose message is still being stored."""

    @property
    def connections(self) -> frozenset[Connection]:
        return frozenset(self._unfinished)

    def listen(self, listening: socket.socket, context: ServerContext) -> None:
        """Accept connections on a bound socket, which belongs to the listener from now on."""
        listening.setblocking(False)
        self._listening[listening] = context
        self._resume()

    def _resume(self) -> None:
        for listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    def _pause(self) -> None:
        for listening in self._listening:
            self._loop.remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPT_BATCH):
            if len(self._open) >= self._sockets:
                self._pause()  # the others wait until a socket is closed
                return
            try:
                opened, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("Cannot accept connections", extra={"err": error})
                self._pause()
                self._loop.call_later(_RETRY_S, self._resume)
                return
            self._welcome(opened, self._listening[listening])

    def _welcome(self, opened: socket.socket, context: ServerContext) -> None:
        connection = Connection(context)
        connection.lost.add_done_callback(lambda _: self._gone(connection))
        connection.finished.add_done_callback(lambda _: self._unfinished.discard(connection))
        self._unfinished.add(connection)
        self._open[connection] = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, opened)
        )

    def _gone(self, connection: Connection) -> None:
        del self._open[connection]
        self._resume()

    async def stop(self, grace: float) -> None:
        """Accept no more connections, and end every session with 421: now, or when its message is answered.

        After `grace` seconds transforms are killed, and messages that are still coming in are cut off.
        """
        pipelines = {context.pipeline for context in self._listening.values()}
        self._pause()
        for listening in self._listening:
            listening.close()
        self._listening = {}
        connections = self._open.keys()
        await _wait(self._open.values())
        for connection in list(connections):
            connection.finish()
        await _wait((connection.ended for connection in connections), grace)
        for pipeline in pipelines:
            pipeline.stop()
        for connection in list(connections):
            connection.expire(UNAVAILABLE)
        await _wait(connection.task for connection in self._unfinished if connection.task)
        await _wait((connection.lost for connection in connections), _LAST_REPLY_S)
        for connection in list(connections):
            connection.cut()
        await _wait(connection.lost for connection in connections)


async def _wait(futures: Iterable[asyncio.Future[Any]], timeout: float | None = None) -> None:
    if waited := list(futures):
        await asyncio.wait(waited, timeout=timeout)
