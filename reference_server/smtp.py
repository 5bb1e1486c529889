"""SMTP over TCP: a listening socket, and a good end for its sessions."""

import asyncio
import socket
from collections.abc import Iterable

from reference_server.connection import Connection, Sessions
from reference_server.reply import UNAVAILABLE

_LAST_REPLY = 0.3
"""Seconds for clients to read that the server ends, and to close."""


class MailServer:
    """A listening socket and the sessions that come in by it."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._listening: asyncio.Server | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket, which belongs to the server from now on."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._sessions), sock=listening, backlog=1024
        )

    async def stop(self, grace: float) -> None:
        """Take no more connections, and end every session with 421: at once, or when its message is answered.

        After `grace` seconds programs are killed, and messages that are still coming in are cut off.
        """
        if self._listening:
            self._listening.close()
        connections = self._sessions.connections
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


async def _wait(futures: Iterable[asyncio.Future[None]], timeout: float | None = None) -> None:
    if waited := list(futures):
        await asyncio.wait(waited, timeout=timeout)
