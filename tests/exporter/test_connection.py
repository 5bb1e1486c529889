import asyncio
import gc
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from socket import SHUT_WR, SO_RCVBUF, SOL_SOCKET, socket

import pytest
from starlette.requests import Request

from exporter.http.connection import Connection
from exporter.http.disconnect import _CancelledOnDisconnect
from exporter.http.limits import RequestLimits
from exporter.http.timeout import Timeout
from exporter.routes.context import HttpOptions
from tests.exporter.running import Exporter, Start, silence

LARGE = "".join(
    f"  - {{name: mail-{index}, address: '127.0.0.1:1', token: secretpa, labels: {{a: {'x' * 400_000}}}}}\n"
    for index in range(5)
)
"""Targets whose metrics are more than the system's buffers take on their own."""


def taken(exporter: Exporter) -> float:
    name = "smtpstatus_exporter_scrapes_in_flight"
    return exporter.service.own.registry.get_sample_value(name) or 0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def connected(exporter: Exporter) -> AsyncIterator[socket]:
    """Client with a small receive buffer."""
    with socket() as client:
        client.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", exporter.port))
        yield client


async def read_whole(client: socket) -> bytes:
    """Everything received until the exporter closes the connection."""
    found = bytearray()
    async with asyncio.timeout(10):
        while part := await asyncio.get_running_loop().sock_recv(client, 2**20):
            found += part
    return bytes(found)


async def test_a_request_that_waits_leaves_nothing_in_cycles_after_its_connection(
    start: Start,
) -> None:
    """Garbage in cycles is collected rarely, and would be megabytes."""
    kinds = (Connection, Timeout, Request, _CancelledOnDisconnect)

    def existing() -> list[object]:
        return [one for one in gc.get_objects() if isinstance(one, kinds)]

    async with silence() as mute:
        exporter = await start(
            f"timeout: 0.2s\ntargets: [{{name: mail-1, address: '{mute}', token: secretpa}}]"
        )
        gc.collect()
        gc.disable()
        of_other_tests = existing()
        try:
            async with connected(exporter) as client:
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(
                    client, b"GET /api/v1/targets/mail-1 HTTP/1.1\r\nHost: x\r\n\r\n"
                )
                assert b'"up":false' in await loop.sock_recv(client, 4096)
            await until(lambda: not list(exporter.limits))
            await asyncio.sleep(0)
            assert [one for one in existing() if one not in of_other_tests] == []
        finally:
            gc.enable()


@pytest.fixture
async def large(start: Start) -> Exporter:
    return await start(f"targets:\n{LARGE}", HttpOptions(max_requests=1))


async def test_an_unread_response_counts_against_the_limit_until_it_is_read(
    large: Exporter,
) -> None:
    async with connected(large) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await asyncio.get_running_loop().sock_recv(client, 1)

        assert (await large.http.get("/metrics")).status_code == 503
        whole = await read_whole(client)
        await until(lambda: not taken(large))

    head, body = whole.split(b"\r\n\r\n", 1)
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert body.count(b"smtpstatus_up{") == 5


async def test_an_unread_response_stops_counting_when_the_client_disconnects(
    large: Exporter,
) -> None:
    async with connected(large) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.get_running_loop().sock_recv(client, 1)
        assert taken(large) == 1

    await until(lambda: not taken(large))


async def test_a_client_that_reads_no_response_is_disconnected(
    large: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "response_timeout_s", 0.1)
    async with connected(large) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.get_running_loop().sock_recv(client, 1)
        assert taken(large) == 1

        await until(lambda: not taken(large))
        head, body = (await read_whole(client)).split(b"\r\n\r\n", 1)

    (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
    assert 0 < len(body) < int(length)


async def test_a_stalled_response_is_aborted_for_another_request(
    large: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that do not read must not lock out a Prometheus that does."""
    monkeypatch.setattr(RequestLimits, "stalled_after_s", 0.05)
    async with connected(large) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.get_running_loop().sock_recv(client, 1)
        async with asyncio.timeout(10):
            while (answer := await large.http.get("/metrics")).status_code == 503:
                await asyncio.sleep(0.01)
        unread = await read_whole(client)

    assert answer.text.count("smtpstatus_up{") == 5
    assert len(unread) < len(answer.content)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_client_that_ends_its_side_receives_the_responses(
    start: Start, count: int, version: str
) -> None:
    async with silence() as address:
        exporter = await start(
            f"targets: [{{name: mute, address: '{address}', token: secretpa}}]\ntimeout: 100ms\n"
        )
        async with connected(exporter) as client:
            head = f"GET /probe?target=mute HTTP/{version}\r\nHost: x\r\n\r\n"
            client.send(head.encode() * count)
            client.shutdown(SHUT_WR)
            whole = await read_whole(client)

    assert whole.count(b" 200 OK") == (count if version == "1.1" else 1)
    assert whole.count(b"smtpstatus_up 0.0") == whole.count(b" 200 OK")


async def test_a_request_without_its_end_is_not_answered_after_the_client_ends_its_side(
    exporter: Exporter,
) -> None:
    async with connected(exporter) as client:
        client.send(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /-/healthy HTTP/1.1\r\nHo")
        client.shutdown(SHUT_WR)

        assert (await read_whole(client)).count(b" 200 OK") == 1


async def test_a_half_closed_client_is_disconnected_if_the_response_takes_too_long(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "half_closed_timeout_s", 0.05)
    async with silence() as address:
        exporter = await start(
            f"targets: [{{name: mute, address: '{address}', token: secretpa}}]\ntimeout: 1m\n"
        )
        async with connected(exporter) as client:
            client.send(b"GET /probe?target=mute HTTP/1.1\r\nHost: x\r\n\r\n")
            client.shutdown(SHUT_WR)

            assert await read_whole(client) == b""
            await until(lambda: not taken(exporter))


async def test_a_half_closed_client_may_read_a_long_response_slowly(large: Exporter) -> None:
    async with connected(large) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(SHUT_WR)
        await asyncio.get_running_loop().sock_recv(client, 1)
        (connection,) = large.limits
        assert isinstance(connection, Connection)
        connection._abort_unanswered()  # as after half_closed_timeout_s
        whole = await read_whole(client)

    assert whole.count(b"smtpstatus_up{") == 5


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n",
        b"PUT /api/v1/targets/mail-1/transforms HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ],
)
async def test_a_client_that_does_not_complete_a_request_is_disconnected(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(Connection, "request_timeout_s", 0.1)
    async with connected(exporter) as client:
        client.send(sent)

        assert b" 200 OK" not in await read_whole(client)


async def test_a_client_that_waits_for_a_response_is_not_disconnected(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "request_timeout_s", 0.1)
    async with silence() as address:
        exporter = await start(
            f"targets: [{{name: mute, address: '{address}', token: secretpa}}]\ntimeout: 300ms\n"
        )
        for _ in range(2):
            answer = await exporter.http.get("/probe?target=mute")

            assert answer.status_code == 200


@pytest.mark.parametrize(
    "begun", [b"GET /-/healthy?", b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nX: "]
)
async def test_a_client_that_sends_endless_headers_is_disconnected(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(Connection, "longest_head", 100_000)
    sent = 0
    async with connected(exporter) as client, asyncio.timeout(10):
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(client, begun)
            while sent < 50_000_000:
                await asyncio.get_running_loop().sock_sendall(client, b"x" * 10_000)
                sent += 10_000

    assert sent < 50_000_000


async def test_the_header_limit_applies_to_each_request_of_a_connection(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "longest_head", 5000)
    request = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1000
    async with connected(exporter) as client:
        for end in [b"\r\n\r\n"] * 19 + [b"\r\nConnection: close\r\n\r\n"]:
            await asyncio.get_running_loop().sock_sendall(client, request + end)
        whole = await read_whole(client)

    assert whole.count(b"200 OK") == 20


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /-/healthy HTTP/1.1\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (
            b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (b"GET /-/healthy HTTP/1.0\r\n\r\n", 200),
        (b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    ],
)
async def test_a_request_head_invalid_in_rfc_9112_is_rejected(
    exporter: Exporter, head: bytes, status: int
) -> None:
    async with connected(exporter) as client:
        client.send(head)

        assert (await read_whole(client)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("before", [b"\r\n", b"\n", b"\r\n\r\n"])
async def test_empty_lines_before_a_request_are_ignored(exporter: Exporter, before: bytes) -> None:
    async with connected(exporter) as client:
        client.send(before)
        await asyncio.sleep(0)
        client.send(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

        assert (await read_whole(client)).startswith(b"HTTP/1.1 200 ")


async def test_a_long_body_of_a_rejected_request_is_skipped(exporter: Exporter) -> None:
    body = b"x" * 200_000
    head = (
        "PUT /api/v1/targets/mail-1/transforms HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    async with connected(exporter) as client, asyncio.timeout(5):
        await loop.sock_sendall(client, head.format(len(body)).encode() + body[:20_000])
        assert (await loop.sock_recv(client, 2**16)).startswith(b"HTTP/1.1 401 ")
        await loop.sock_sendall(client, body[20_000:])
        await loop.sock_sendall(
            client, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert b"Healthy" in await read_whole(client)
