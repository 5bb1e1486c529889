"""Clients that are slow, end their side, or reset the connection at any place, all at the same time."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.soak.conftest import Scale
from tests.support.bystander import unaffected
from tests.support.hostile import statuses
from tests.support.processes import eventually, running

pytestmark = pytest.mark.soak

PEAK_MIB = 160
"""More than for small responses: each /metrics has 6 MB, which is more than the system's buffers take."""
MAX_REQUESTS = 4
CLIENTS_OF_A_KIND = 12
REFUSED = 0.2
"""Share of 503: an unread response that is younger than 0.25 s is not aborted for another request."""
LINES_PER_MINUTE = 4
"""A target that is down, denied writes once a minute for the client, and no line for a rejected request."""
TARGETS = "".join(
    f"  - {{name: t{number}, address: '127.0.0.1:{port}', token: secretpa, labels: {{a: {'x' * 300_000}}}}}\n"
    for number, port in enumerate((9, 10, 11, 12))
)
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = (
    b"PUT /api/v1/targets/t1/transforms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 50000\r\n\r\n"
)
HEAD = b"GET /-/healthy HTTP/1.1\r\nHost: exporter\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n"
PATHS = (
    b"/-/healthy",
    b"/metrics?collect[]=exporter",
    b"/probe?target=silent",
    b"/sd",
    b"/docs",
    b"/nothing",
)
RESET = struct.pack("ii", 1, 0)


class Client:
    """A connection with a small receive buffer, in the running loop."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)

    async def __aenter__(self) -> "Client":
        await self._loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def read(self, length: int) -> bytes:
        return await self._loop.sock_recv(self._socket, length)

    async def read_all(self) -> bytes:
        found = bytearray()
        while piece := await self.read(1 << 16):
            found += piece
        return bytes(found)

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._socket.close()


async def send_a_byte_a_second(client: Client, random: Random) -> None:
    with suppress(ConnectionError):
        for byte in HEAD:
            await client.send(bytes([byte]))
            await asyncio.sleep(1)
        raise AssertionError("the exporter waited for a request of more than a minute")


async def read_a_byte_a_second(client: Client, random: Random) -> None:
    await client.send(GET % b"/metrics")
    with suppress(ConnectionError):
        for _ in range(12):
            await client.read(1)
            await asyncio.sleep(1)


async def end_after_the_request(client: Client, random: Random) -> None:
    count = random.choice([1, 1, 3])
    await client.send(b"".join(GET % random.choice(PATHS) for _ in range(count)))
    client.end()

    found = statuses(await client.read_all())

    assert len(found) == count
    assert set(found) <= {200, 404, 503}


async def reset_in_the_body(client: Client, random: Random) -> None:
    await client.send(PUT + b"x" * random.randrange(40_000))
    client.reset()


async def reset_in_the_response(client: Client, random: Random) -> None:
    await client.send(GET % random.choice(PATHS) * 20)
    if random.random() < 0.8:
        await client.read(random.choice([1, 4096]))
    client.reset()


async def reset_while_waiting(client: Client, random: Random) -> None:
    await client.send(GET % b"/probe?target=silent&debug=true")
    await asyncio.sleep(random.random() / 10)
    client.reset()


async def send_garbage(client: Client, random: Random) -> None:
    await client.send(random.choice([b"\x16\x03\x01", b"GET / HTTP/9\r\n\r\n", b"PUT \0\r\n"]))
    with suppress(ConnectionError):
        client.end()
        await client.read_all()


async def guess_the_token(client: Client, random: Random) -> None:
    await client.send(PUT.replace(b"50000", b"0\r\nAuthorization: Bearer guess"))
    client.end()

    assert statuses(await client.read_all()) == [401]


KINDS: tuple[Callable[[Client, Random], Awaitable[None]], ...] = (
    send_a_byte_a_second,
    read_a_byte_a_second,
    end_after_the_request,
    reset_in_the_body,
    reset_in_the_response,
    reset_while_waiting,
    send_garbage,
    guess_the_token,
)


async def repeat(
    port: int, kind: Callable[[Client, Random], Awaitable[None]], random: Random, until: float
) -> int:
    """How often a client of this kind connected."""
    count = 0
    while time.monotonic() < until:
        async with Client(port) as client, asyncio.timeout(60):
            await kind(client, random)
        count += 1
        await asyncio.sleep(random.random())
    return count


async def misbehave(port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for kind in KINDS:
            for number in range(CLIENTS_OF_A_KIND):
                group.create_task(repeat(port, kind, Random(number), until))


def test_misbehaving_clients_affect_no_other_client(tmp_path: Path, scale: Scale) -> None:
    seconds = scale(full=120, short=3)
    config = tmp_path / "config.yml"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        config.write_text(
            f"targets:\n{TARGETS}  - {{name: silent, address: '{place}', token: secretpa}}\n"
            "timeout: 200ms\napi: {token: open-sesame}\n"
        )
        with running(
            *("smtpstatus-exporter", f"--config.file={config}"),
            *("--web.listen-address=127.0.0.1:0", f"--web.max-requests={MAX_REQUESTS}"),
        ) as process:
            port = int(process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1])
            lines = 8 + int(LINES_PER_MINUTE * seconds / 60)
            with unaffected(process, port, peak_mib=PEAK_MIB, log_lines=lines, refused=REFUSED):
                asyncio.run(misbehave(port, seconds))
            eventually(lambda: in_flight(port) == 0)


def in_flight(port: int) -> float:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as asked:
        asked.sendall(GET % b"/metrics?collect[]=exporter")
        asked.shutdown(socket.SHUT_WR)
        text = b"".join(iter(lambda: asked.recv(1 << 16), b"")).decode()
    (line,) = [
        line for line in text.splitlines() if line.startswith("smtpstatus_exporter_scrapes_in_fl")
    ]
    return float(line.split()[1])
