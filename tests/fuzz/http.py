"""Fuzz target for HTTP requests: the exporter's connection class over a transport that records writes."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from exporter.http.connection import Connection
from exporter.http.limits import ConnectionLimits

_LOOP = asyncio.new_event_loop()


class _Transport(asyncio.Transport):
    """Transport that accepts every write immediately."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def examine_requests(data: bytes) -> None:
    """Fails if the connection raises, stays open after its end, or executes more requests than there are request lines.

    tests/soak/test_http.py compares what is executed with a strict parser.
    """
    _LOOP.run_until_complete(_examine(data))


async def _examine(data: bytes) -> None:
    executed = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal executed
        executed += 1
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    settings = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
    settings.load()
    connection = Connection(ConnectionLimits(), settings, ServerState(), {}, _LOOP)
    transport = _Transport()
    connection.connection_made(transport)
    for start in range(0, len(data), 97):
        connection.data_received(data[start : start + 97])
        await asyncio.sleep(0)
    if not transport.closing and connection.eof_received():
        await _settle()
        assert transport.closing, "a half-closed connection stays open after its response"
    await _settle()
    connection.connection_lost(None)
    assert executed <= data.count(b"HTTP/1.")


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
