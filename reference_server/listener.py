"""SMTP over TCP: a listening socket, and a good end for its sessions."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Any

from reference_server.connection import Connection, Sessions
from reference_server.reply import UNAVAILABLE

logger = logging.getLogger(__name__)

_AT_ONCE = 100
"""Connections accepted before the sessions have their turn."""

_RETRY = 1.0
"""Seconds until the next try when the system has no room for a connection."""

_LAST_REPLY = 0.3
"""Seconds for clients to read that the server ends, and to close."""


class Listener:
    """A listening socket and the sessions that come in by it.

    It accepts by itself: asyncio's servers take as many as come, and where the system has no descriptor left they log
    a traceback for each that waits, every second.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._open: dict[Connection, asyncio.Task[object]] = {}
        """Whose sockets are open, and what hands each its socket."""

    def listen(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket, which belongs to the server from now on."""
        listening.setblocking(False)
        self._listening = listening
        self._resume()

    def _resume(self) -> None:
        if self._listening:
            self._loop.add_reader(self._listening, self._accept, self._listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if len(self._open) >= self._sessions.limits.sockets:
                self._loop.remove_reader(listening)  # the others wait until a socket is closed
                return
            try:
                opened, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("Cannot accept connections", extra={"err": error})
                self._loop.remove_reader(listening)
                self._loop.call_later(_RETRY, self._resume)
                return
            self._welcome(opened)

    def _welcome(self, opened: socket.socket) -> None:
        connection = Connection(self._sessions)
        connection.lost.add_done_callback(lambda _: self._gone(connection))
        self._open[connection] = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, opened)
        )

    def _gone(self, connection: Connection) -> None:
        del self._open[connection]
        self._resume()

    async def stop(self, grace: float) -> None:
        """Take no more connections, and end every session with 421: at once, or when its message is answered.

        After `grace` seconds programs are killed, and messages that are still coming in are cut off.
        """
        if self._listening:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        connections = self._open.keys()
        await _wait(self._open.values())
        for connection in list(connections):
            connection.finish()
        await _wait((connection.ended for connection in connections), grace)
        self._sessions.intake.stop()
        for connection in list(connections):
            connection.expire(UNAVAILABLE)
        await _wait(self._sessions.tasks)
        await _wait((connection.lost for connection in connections), _LAST_REPLY)
        for connection in list(connections):
            connection.cut()
        await _wait(connection.lost for connection in connections)


async def _wait(futures: Iterable[asyncio.Future[Any]], timeout: float | None = None) -> None:
    if waited := list(futures):
        await asyncio.wait(waited, timeout=timeout)
