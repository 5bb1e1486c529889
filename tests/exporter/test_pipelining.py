"""HTTP/1.1 connections: pipelined requests, split anywhere, with bodies, trailers and upgrades."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse
from uvicorn.server import ServerState

from exporter.http.connection import Connection
from exporter.http.limits import ConnectionLimits
from tests.exporter.running import API_TOKEN, Exporter, MailServer
from tests.exporter.test_connection import connected, read_whole

LAST = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
    b"Connection: keep-alive, upgrade\r\nupgrade: TLS/1.0\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
]


def switch(more: bytes, body: bytes) -> bytes:
    return (
        b"PUT /api/v1/targets/mail-1/transforms HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer %b\r\n%b\r\n%b"
        % (API_TOKEN.encode(), more, body)
    )


async def answers(exporter: Exporter, *pieces: bytes) -> bytes:
    """Everything that a client receives after sending these pieces in separate segments."""
    async with connected(exporter) as client:
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(client, piece)
            await asyncio.sleep(0.01)
        return await read_whole(client)


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_an_upgrade_header_is_ignored(
    exporter: Exporter, mail_server: MailServer, upgrade: bytes
) -> None:
    body = b'{"enabled": false}'
    request = switch(b"Content-Length: %d\r\n" % len(body) + upgrade, b"")

    whole = await answers(exporter, request, body, LAST)

    assert whole.count(b"HTTP/1.1 200 OK") == 2
    assert b'"enabled":false' in whole.replace(b" ", b"")


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_the_body_of_a_request_with_upgrade_is_not_parsed_as_a_request(
    exporter: Exporter, mail_server: MailServer, upgrade: bytes, framing: str
) -> None:
    hidden = switch(b"Content-Length: 18\r\n", b'{"enabled": false}')
    if framing == "chunked":
        length = b"Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    else:
        length = b"Content-Length: %d\r\n" % len(hidden)
        body = hidden
    outer = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n" + upgrade + length + b"\r\n"

    whole = await answers(exporter, outer, body, LAST)

    assert whole.count(b"HTTP/1.1 ") == whole.count(b"HTTP/1.1 200 OK") == 2
    assert not mail_server.asked


async def test_connect_is_rejected_and_nothing_after_it_is_read(
    exporter: Exporter, mail_server: MailServer
) -> None:
    hidden = switch(b"Content-Length: 18\r\n", b'{"enabled": false}')

    whole = await answers(exporter, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n" + hidden)

    assert whole.startswith(b"HTTP/1.1 501 ")
    assert whole.count(b"HTTP/1.1") == 1
    assert not mail_server.asked


@pytest.mark.parametrize(
    "trailer",
    [b"Authorization: Bearer " + API_TOKEN.encode(), b"Content-Type: application/json"],
)
async def test_a_trailer_field_is_not_treated_as_a_header_field(
    exporter: Exporter, mail_server: MailServer, trailer: bytes
) -> None:
    fields = [
        b"Authorization: Bearer " + API_TOKEN.encode(),
        b"Content-Type: application/json",
        b"Transfer-Encoding: chunked",
    ]
    fields.remove(trailer)
    head = b"PUT /api/v1/targets/mail-1/transforms HTTP/1.1\r\nHost: x\r\n"
    body = b"12\r\n" + b'{"enabled": false}' + b"\r\n0\r\n" + trailer + b"\r\n\r\n"

    for pieces in ([head, body], [head + body]):
        pieces[0] = pieces[0].replace(head, head + b"\r\n".join(fields) + b"\r\n\r\n")
        whole = await answers(exporter, *pieces, LAST)

        assert whole.startswith((b"HTTP/1.1 401", b"HTTP/1.1 415"))
        assert not mail_server.asked


@pytest.mark.parametrize("endless", [b"A: b\r\n", b"x", b"\r\nX:", b"a,"])
@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"PUT /api/v1/targets/mail-1/transforms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer open-sesame\r\n\r\n1;x=",
    ],
)
async def test_headers_trailers_and_chunk_extensions_are_limited(
    exporter: Exporter, begun: bytes, endless: bytes
) -> None:
    sent = 0
    async with connected(exporter) as client, asyncio.timeout(10):
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            await loop.sock_sendall(client, begun)
            while sent < 20_000_000:
                await loop.sock_sendall(client, endless * 1000)
                sent += len(endless) * 1000

    assert sent < 20_000_000


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(
    exporter: Exporter,
) -> None:
    paths = [f"/{number}" for number in range(2000)]
    sent = b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths)
    most = 0

    async with connected(exporter) as client:
        sending = asyncio.ensure_future(
            asyncio.get_running_loop().sock_sendall(client, sent + LAST)
        )
        reading = asyncio.ensure_future(read_whole(client))
        while not reading.done():
            for connection in list(exporter.limits):
                assert isinstance(connection, Connection)
                most = max(most, len(connection.pipeline))
            await asyncio.sleep(0)
        await sending
        whole = await reading

    assert whole.count(b"HTTP/1.1 404") == 2000
    assert whole.endswith(b"Healthy\n")
    assert most == 0


async def test_pipelined_requests_are_not_parsed_while_responses_are_unread(
    exporter: Exporter,
) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connected(exporter) as client:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.get_running_loop().sock_sendall(client, request * 400_000)
        (connection,) = [c for c in exporter.limits if c.client == client.getsockname()]

        assert connection.buffered < 100_000


async def test_a_bad_byte_after_many_requests_is_answered_with_400_after_their_responses(
    exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    request = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"

    whole = await answers(exporter, request * 20 + b"\x00\r\n\r\n" + request)

    assert whole.count(b"HTTP/1.1 200 OK") == 20
    assert whole.count(b"HTTP/1.1 400 Bad Request") == 1
    _, body = whole.split(b"HTTP/1.1 400")[1].split(b"\r\n\r\n")
    assert json.loads(body)["status"] == 400
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


async def test_a_bad_chunk_ends_its_request_with_400(exporter: Exporter) -> None:
    begun = switch(b"Transfer-Encoding: chunked\r\n", b"1\r\n{\r\n")

    whole = await answers(exporter, begun, b"no number\r\n\r\n")

    assert whole.startswith(b"HTTP/1.1 400")
    assert whole.count(b"HTTP/1.1 ") == 1


async def test_a_body_that_is_too_long_is_rejected_and_the_connection_closed(
    exporter: Exporter,
) -> None:
    request = switch(b"Content-Length: 50000000\r\n", b"x" * 10_000)
    sent = 0
    loop = asyncio.get_running_loop()
    async with connected(exporter) as client, asyncio.timeout(10):
        await loop.sock_sendall(client, request)
        answer = await loop.sock_recv(client, 65536)
        with suppress(ConnectionError):
            while sent < 20_000_000:
                await loop.sock_sendall(client, b"x" * 10_000)
                sent += 10_000

    assert answer.startswith(b"HTTP/1.1 413")
    assert sent < 20_000_000


@pytest.mark.parametrize("sent", [b"\n", b"\r\n", b"\n" * 100])
async def test_a_connection_that_sends_no_further_request_is_closed(
    exporter: Exporter, sent: bytes
) -> None:
    exporter.limits.idle_timeout_s = 0.2
    async with connected(exporter) as client:
        await asyncio.get_running_loop().sock_sendall(
            client, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        await asyncio.get_running_loop().sock_recv(client, 65536)
        await asyncio.get_running_loop().sock_sendall(client, sent)

        await read_whole(client)


async def test_a_connection_is_reused_until_its_idle_timeout(exporter: Exporter) -> None:
    exporter.limits.idle_timeout_s = 1.5
    async with connected(exporter) as client:
        for _ in range(4):
            await asyncio.sleep(0.5)
            await asyncio.get_running_loop().sock_sendall(
                client, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            received = b""
            while not received.endswith(b"Healthy\n"):
                more = await asyncio.get_running_loop().sock_recv(client, 65536)
                assert more, "closed"
                received += more


async def test_at_the_connection_limit_the_busiest_clients_oldest_idle_connection_is_closed(
    exporter: Exporter,
) -> None:
    exporter.limits.most_connections = lambda: 3
    loop = asyncio.get_running_loop()
    async with connected(exporter) as oldest, connected(exporter) as second:
        async with connected(exporter) as third, connected(exporter) as newest:
            assert await read_whole(oldest) == b""
            for client in (second, third, newest):
                await loop.sock_sendall(client, LAST)
                assert b"200 OK" in await read_whole(client)


async def test_beyond_the_byte_budget_the_largest_connection_is_closed(exporter: Exporter) -> None:
    exporter.limits.most_buffered_bytes = 34_000
    exporter.limits.most_connections = lambda: 3
    loop = asyncio.get_running_loop()
    head = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nX: "
    async with connected(exporter) as large, connected(exporter) as small:
        await loop.sock_sendall(large, head + b"x" * 30_000)
        await loop.sock_sendall(small, head + b"x" * 15_000)

        assert await read_whole(large) == b""
        await loop.sock_sendall(small, b"\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await read_whole(small)


async def test_an_idle_connection_keeps_no_data_of_its_last_request(exporter: Exporter) -> None:
    async with connected(exporter) as client:
        await asyncio.get_running_loop().sock_sendall(
            client, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"
        )
        await asyncio.get_running_loop().sock_recv(client, 65536)
        (connection,) = [c for c in exporter.limits if c.client == client.getsockname()]

        assert isinstance(connection, Connection)
        assert (connection.buffered, connection.cycle, connection.headers) == (0, None, [])


class Wire(asyncio.Transport):
    """Transport that records what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@asynccontextmanager
async def echoing(*, whole: bool = True) -> AsyncIterator[tuple[Connection, Wire]]:
    """Connection to an application that returns the method, path and body of each request.

    Unless `whole`, it responds without reading the body.
    """

    async def app(scope: object, receive: object, send: object) -> None:
        request = Request(scope, receive)  # type: ignore[arg-type]
        body = (await request.body()).decode() if whole else ""
        answer = JSONResponse([request.method, request.url.path, body])
        await answer(scope, receive, send)  # type: ignore[arg-type]

    settings = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
    build = partial(Connection, ConnectionLimits())
    connection = build(config=settings, server_state=ServerState(), app_state={})
    wire = Wire()
    connection.connection_made(wire)
    yield connection, wire
    connection.connection_lost(None)


async def test_a_client_that_ends_its_side_and_reads_on_is_not_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Connection, "response_timeout_s", 0.01)
    async with echoing() as (connection, wire):
        connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.cycle.on_response = lambda: None  # type: ignore[union-attr]  # as if it were long
        connection.pause_writing()
        assert connection.eof_received()
        connection.resume_writing()
        await asyncio.sleep(0.05)

        assert not wire.closed


@pytest.mark.parametrize(("fields", "status"), [(100, 200), (101, 431)])
async def test_a_request_has_at_most_100_header_fields(fields: int, status: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * (fields - 1)
    async with echoing() as (connection, wire):
        connection.data_received(head + b"\r\n")
        for _ in range(10):
            await asyncio.sleep(0)

        assert wire.written.startswith(b"HTTP/1.1 %d " % status)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    body = draw(st.text(st.sampled_from("\r\n0aGET /"), max_size=30))
    path = f"/{draw(st.integers(0, 99))}"
    method = draw(st.sampled_from(["PUT", "POST", "GET"]))
    upgrade = draw(st.sampled_from([b"", *UPGRADES]))
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + upgrade
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(body)))
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part.encode())
            for part in (body[:cut], body[cut:])
            if part
        )
        trailer = draw(st.sampled_from([b"", b"X: y\r\n"]))
        framed = b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"
    else:
        framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body.encode())
    return head + framed, [method, path, body]


@st.composite
def pieces(draw: st.DrawFn) -> tuple[list[tuple[bytes, int]], list[list[str]]]:
    """Requests in pieces, each with the steps of the event loop after it, and what is echoed."""
    sent = draw(st.lists(requests(), max_size=5))
    stream = b"".join(raw for raw, _ in sent)
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    parts = [
        (stream[start:end], draw(st.integers(0, 4)))
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    ]
    return parts, [expected for _, expected in sent]


@given(pieces())
async def test_requests_split_anywhere_have_the_same_responses(
    given: tuple[list[tuple[bytes, int]], list[list[str]]],
) -> None:
    parts, expected = given
    async with echoing() as (connection, wire):
        for part, steps in [*parts, (b"", 40)]:
            connection.data_received(part)
            assert not connection.pipeline
            for _ in range(steps):
                await asyncio.sleep(0)
                assert not connection.pipeline

    bodies = [part.split(b"\r\n\r\n")[1] for part in wire.written.split(b"HTTP/1.1 200 OK")[1:]]
    assert [json.loads(body) for body in bodies] == expected


@given(pieces(), st.booleans(), st.sampled_from([b"", b"\r\n", b"GET / HT"]))
async def test_a_client_that_owes_bytes_is_always_watched_by_a_timer(
    given: tuple[list[tuple[bytes, int]], list[list[str]]], whole: bool, last: bytes
) -> None:
    parts, _ = given
    async with echoing(whole=whole) as (connection, wire):
        for part, steps in [*parts, (last, 5)]:
            connection.data_received(part)
            for _ in range(steps):
                await asyncio.sleep(0)
                timer = connection._client._timer
                if not wire.closed and not connection.answering:
                    assert timer
                    assert not timer.cancelled()
                    limit = 10 if connection._receiving else 360
                    assert timer.when() - connection.loop.time() <= limit
                connection._client.close()  # as after a timer that was too early
                connection._client.watch()


BEGUN = [
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
]


@given(st.sampled_from(BEGUN), st.binary(max_size=200))
async def test_any_bytes_leave_the_connection_waiting_or_closed(begun: bytes, raw: bytes) -> None:
    async with echoing() as (connection, wire):
        connection.data_received(begun + raw)
        for _ in range(10):
            await asyncio.sleep(0)

        assert wire.closed or not wire.written or wire.written.startswith(b"HTTP/1.1 200")
