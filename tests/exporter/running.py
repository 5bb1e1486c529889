"""Runs a status server and an exporter over real sockets in the test's event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
import uvicorn

from exporter.app import create_app
from exporter.configuration import config
from exporter.http.limits import ConnectionLimits
from exporter.http.server import Server
from exporter.http.web_file import WebFile
from exporter.routes.context import HttpOptions
from exporter.service import Service
from protocol.dialect import Dialect
from protocol.dialects import V0
from protocol.message import Value
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import Command

TOKEN = "secretpa"
API_TOKEN = "open-sesame"
AUTHORIZED = {"Authorization": f"Bearer {API_TOKEN}"}


@dataclass
class MailServer:
    """Values of a mail server, and the commands that it received."""

    port: int = 0
    values: dict[Command, Value] = field(
        default_factory=lambda: {
            Command.CONNECTIONS: 5,
            Command.ACTIVE_CONNECTIONS: 0,
            Command.TRANSFERRED_BYTES: 51234,
            Command.TRANSFORMS: True,
            Command.MAILS: 7,
            Command.SENT_BYTES: 1000,
            Command.RECEIVED_BYTES: 50234,
            Command.VERBOSE: False,
        }
    )
    asked: list[Command] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, command: Command) -> Value | None:
        self.asked.append(command)
        if command in (Command.ENABLE_TRANSFORMS, Command.DISABLE_TRANSFORMS):
            self.values[Command.TRANSFORMS] = command is Command.ENABLE_TRANSFORMS
            return self.values[Command.TRANSFORMS]
        return self.values[command]


@asynccontextmanager
async def running_mail_server(
    dialect: Dialect = V0, token: str = TOKEN
) -> AsyncIterator[MailServer]:
    server = MailServer()
    secret = Token.parse(token, dialect.token_length)
    async with serve("127.0.0.1", 0, secret, server.answer, dialect) as endpoint:
        server.port = endpoint.port
        yield server


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """Address of a socket that receives datagrams and never answers."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, ("127.0.0.1", 0)
    )
    host, port = transport.get_extra_info("sockname")
    yield f"{host}:{port}"
    transport.close()


@dataclass
class Exporter:
    """Running exporter: an HTTP client, the service, and its configuration file."""

    http: httpx.AsyncClient
    port: int
    service: Service
    path: Path
    limits: ConnectionLimits


class Start(Protocol):
    """Starts an exporter with the text of a configuration; it is stopped at the end of the test."""

    async def __call__(
        self, text: str, options: HttpOptions | None = None, web: str | None = None
    ) -> Exporter: ...


@asynccontextmanager
async def running_exporter(
    path: Path, options: HttpOptions | None = None, web: WebFile | None = None
) -> AsyncIterator[Exporter]:
    service = Service(lambda: config.load([path], {}))
    app = create_app(service, options, web)
    limits = ConnectionLimits()
    settings = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
    tls = web.context if web and web.known.context else None
    server = Server(settings, limits, tls)
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    serving = asyncio.ensure_future(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.001)
    port = listening.getsockname()[1]
    service.ready = True
    scheme = "https" if tls else "http"
    async with httpx.AsyncClient(
        base_url=f"{scheme}://127.0.0.1:{port}", trust_env=False, verify=False
    ) as client:
        yield Exporter(client, port, service, path, limits)
    for started in server.servers:
        started.close()
    serving.cancel()  # uvicorn's own shutdown waits 0.2 s
    await asyncio.wait([serving])
    listening.close()


def one_target(server: MailServer, more: str = "") -> str:
    return f"""
targets:
  - name: mail-1
    address: {server.address}
    token: {TOKEN}
    labels: {{site: eu}}
api: {{token: {API_TOKEN}}}
{more}"""
