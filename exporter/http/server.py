"""uvicorn's server, with limited and logged TLS handshakes, and time for load balancers to leave."""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import uvicorn

from exporter.http.connection import Connection
from exporter.http.limits import ConnectionLimits, LogLimit, client_network

logger = logging.getLogger(__name__)

_HANDSHAKE_TIMEOUT_S = 10.0
_RETRY_ACCEPT_S = 0.1
"""Seconds to wait after a failed accept(2), for lack of descriptors or memory."""

_DRAIN_S = 0.5
"""Seconds between the signal to stop and closing the sockets: /-/ready is 503 meanwhile, for load balancers."""

TlsContext = Callable[[], Awaitable[ssl.SSLContext]]
"""The context for a new connection."""


class Server(uvicorn.Server):
    """Serves an application on open sockets, with TLS if `tls` is given.

    asyncio's servers neither bound nor report TLS handshakes; here a handshake has a deadline, counts
    as a connection, and is logged when it fails. `stopping` is called at the first signal to end.
    """

    def __init__(
        self,
        settings: uvicorn.Config,
        limits: ConnectionLimits,
        tls: TlsContext | None = None,
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        assert not settings.loaded
        settings.http = partial(Connection, limits)  # type: ignore[assignment]
        super().__init__(settings)
        self._limits = limits
        self._tls = tls
        self._stopping = stopping
        self._is_stopping = False
        self._log_limit = LogLimit()
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._is_stopping:  # a second signal ends the process without waiting
            super().handle_exit(sig, frame)
            return
        self._is_stopping = True
        self._stopping()
        drained = threading.Timer(_DRAIN_S, super().handle_exit, (sig, frame))
        drained.daemon = True
        try:
            drained.start()
        except RuntimeError:  # the system allows no more threads
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is None:
            await super().startup(sockets)
            return
        await super().startup([])
        for listening in sockets or []:
            listening.setblocking(False)
            accepting = asyncio.create_task(self._accept(listening, self._tls))
            self._accepting.append(accepting)

    async def main_loop(self) -> None:
        try:
            await super().main_loop()
        finally:
            for task in (*self._accepting, *self._handshakes):
                task.cancel()

    async def _accept(self, listening: socket.socket, tls: TlsContext) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                self._log("TLS connection not accepted", None, error)
                await asyncio.sleep(_RETRY_ACCEPT_S)
                continue
            client = address[:2] if isinstance(address, tuple) else None
            task = asyncio.create_task(self._shake_hands(accepted, client, tls))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(
        self, accepted: socket.socket, client: tuple[str, int] | None, tls: TlsContext
    ) -> None:
        handshake = _Handshake(client)
        self._limits.admit(handshake)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=await tls(),
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S,
            )
        except BaseException as error:
            accepted.close()
            if not isinstance(error, Exception):
                raise
            self._log("TLS handshake failed", client, error)
        finally:
            self._limits.release(handshake)

    def _protocol(self) -> asyncio.BaseProtocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _log(self, message: str, client: tuple[str, int] | None, error: Exception) -> None:
        """Logs a message for each client once a minute."""
        network = client_network(client)
        repeated = self._log_limit.repeated(network, time.monotonic())
        if repeated is not None:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            extra = {"client": network, "err": reason, "repeated": repeated}
            logger.warning(message, extra=extra)


class _Handshake:
    """A connection whose TLS handshake is not complete, for the limits of connections."""

    buffered = 0
    answering = False

    def __init__(self, client: tuple[str, int] | None) -> None:
        self.client = client
        self.idle_since = asyncio.get_running_loop().time()
        self._task = asyncio.current_task()

    def abort(self) -> None:
        assert self._task is not None
        self._task.cancel()
