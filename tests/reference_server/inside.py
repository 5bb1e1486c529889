"""Mail server in the test's event loop, with access to its state, and a client of raw bytes."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from reference_server.admission import Admission
from reference_server.context import ServerContext
from reference_server.delivery import Maildirs
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.listener import Listener
from reference_server.pipeline import Pipeline
from reference_server.recipients import local_recipients
from reference_server.scheduler import Scheduler
from reference_server.service import Service
from reference_server.status import ServerStatus
from reference_server.transform import Bounds, Program, TransformChain

ENVELOPE = b"EHLO me.example\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"
MAIL = ENVELOPE + b"Subject: hi\r\n\r\nhello\r\n.\r\n"


@dataclass
class Inside:
    listener: Listener
    context: ServerContext
    status: ServerStatus
    root: Path
    port: int

    @property
    def admission(self) -> Admission:
        return self.context.admission

    @property
    def busy(self) -> bool:
        """Whether a message is being transformed or stored."""
        return any(connection.task for connection in self.listener.connections)

    def stored(self, user: str = "bob") -> list[bytes]:
        return [file.read_bytes() for file in self.root.glob(f"{user}/new/*")]

    def leftovers(self) -> list[Path]:
        return [f for f in self.root.rglob("*") if f.is_file() and f.parent.name != "new"]


@asynccontextmanager
async def mail_server(
    directory: Path,
    *programs: str,
    bounds: Bounds = Bounds(),  # noqa: B008  a frozen value
    slots: int = 4,
    domains: frozenset[str] = frozenset({"example.com"}),
    session_limits: SessionLimits = SessionLimits(),  # noqa: B008
    limits: ServerLimits = ServerLimits(),  # noqa: B008
) -> AsyncIterator[Inside]:
    root = directory / "mail"
    root.mkdir()
    status = ServerStatus()
    path = os.environ["PATH"]
    chain = TransformChain(bounds, {"PATH": path}, root)
    argvs = [Program.parse(program, path) for program in programs]
    maildirs = Maildirs(root, "mail.example")
    pipeline = Pipeline("mail.example", status, maildirs, root, argvs, chain, slots)
    service = Service("mail.example", local_recipients(domains), pipeline.has_room)
    context = ServerContext(
        service=lambda _: service,
        status=status,
        pipeline=pipeline,
        admission=Admission(limits),
        scheduler=Scheduler(),
        session_limits=session_limits,
        limits=limits,
    )
    listener = Listener(limits.sockets)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, 65536
    )  # a small buffer, soon full if the client does not read
    listener.listen(listening, context)
    try:
        yield Inside(listener, context, status, root, listening.getsockname()[1])
    finally:
        await listener.stop(0.5)
        await pipeline.aclose()


@dataclass
class Client:
    """Counts what it sends and what it receives."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: int = 0
    received: int = 0

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()
        self.sent += len(octets)

    async def code(self) -> int:
        """The code of the next reply."""
        async with asyncio.timeout(5):
            while True:
                line = await self.reader.readline()
                self.received += len(line)
                if line[3:4] != b"-":
                    return int(line[:3] or b"0")

    async def ask(self, octets: bytes) -> int:
        await self.send(octets)
        return await self.code()

    async def rest(self) -> bytes:
        """Everything received until the server closes the connection."""
        async with asyncio.timeout(5):
            octets = await self.reader.read()
        self.received += len(octets)
        return octets

    def reset(self) -> None:
        """Close with RST."""
        linger = b"\x01\x00\x00\x00" + bytes(4)
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self.writer.transport.abort()


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)
