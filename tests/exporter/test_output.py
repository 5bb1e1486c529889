"""The head of a response and the beginning of its body are sent in one system call."""

import asyncio
from collections.abc import Iterable

from exporter.http.output import Output
from tests.exporter.test_pipelining import echoing


class Calls(asyncio.Transport):
    """Transport that records each call as one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.sent.append(b"".join(list_of_data))

    def close(self) -> None:
        self.closed = True


def sent(*pieces: bytes) -> list[bytes]:
    transport = Calls()
    output = Output(transport)
    for piece in pieces:
        output.write(piece)
    return transport.sent


def test_the_head_waits_for_the_first_piece_of_the_body() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"

    assert sent(head) == []
    assert sent(head, b"one") == [head + b"one"]
    assert sent(head, b"one", b"two") == [head + b"one", b"two"]
    assert sent(head, b"one", b"HTTP/1.1 200 OK\r\n\r\n") == [head + b"one", head]


def test_an_empty_body_sends_the_head() -> None:
    assert sent(b"HTTP/1.1 204 No Content\r\n\r\n", b"") == [b"HTTP/1.1 204 No Content\r\n\r\n"]


def test_an_interim_response_is_sent_at_once() -> None:
    interim, head = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"

    assert sent(interim) == [interim]
    assert sent(interim, head, b"body") == [interim, head + b"body"]


def test_closing_closes_the_transport() -> None:
    transport = Calls()

    Output(transport).close()

    assert transport.closed


async def test_a_client_that_waits_for_100_continue_gets_it_before_it_sends_the_body() -> None:
    async with echoing() as (connection, wire):
        connection.data_received(
            b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        for _ in range(10):
            await asyncio.sleep(0)
        assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"

        connection.data_received(b"body")
        for _ in range(10):
            await asyncio.sleep(0)

        assert wire.written.endswith(b'\r\n\r\n["PUT","/","body"]')


async def test_a_response_to_head_is_sent_without_a_body() -> None:
    async with echoing() as (connection, wire):
        connection.data_received(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0)

        assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert wire.written.endswith(b"\r\n\r\n")
