"""Endpoint over real sockets; the contents of its responses are tested in test_vectors.py."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from protocol.dialects import DIALECTS
from protocol.message import Request, Response, Value
from protocol.mmsg import unpack_sockaddr
from protocol.ratelimit import ErrorRateLimiter
from protocol.server import Endpoint, respond, serve
from protocol.token import Token
from protocol.vocabulary import Command, Status
from tests.support.udp import udp_socket

TOKEN = Token.parse("secretpa")


def answer(command: Command) -> Value:
    return True if command is Command.TRANSFORMS else 3


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with serve("127.0.0.1", 0, TOKEN, answer) as opened:
        yield opened


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.0.0.1", 0))
        yield opened


async def receive(client: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(client, 100)


async def count(client: socket.socket, until: bytes) -> int:
    """Number of datagrams received before `until`."""
    found = 0
    while await receive(client) != until:
        found += 1
    return found


def request(identifier: int = 1, code: int = 0, token: bytes = b"secretpa") -> bytes:
    return Request(identifier, token, code).encode()


def response(identifier: int = 1, status: Status = Status.DONE, number: int = 3) -> bytes:
    return Response(identifier, status, number.to_bytes(8)).encode()


async def test_a_request_is_answered_from_the_address_it_was_sent_to(
    endpoint: Endpoint, client: socket.socket
) -> None:
    client.sendto(request(0xBEEF), ("127.0.0.1", endpoint.port))

    loop = asyncio.get_running_loop()
    assert await loop.sock_recvfrom(client, 100) == (
        response(0xBEEF),
        ("127.0.0.1", endpoint.port),
    )


async def test_a_datagram_of_any_size_is_answered_or_ignored_and_the_server_continues(
    endpoint: Endpoint, client: socket.socket
) -> None:
    where = ("127.0.0.1", endpoint.port)
    for size in (0, 1, 2, 13, 15, 64, 1400):
        client.sendto((b"\xcf\xfe" + bytes(1398))[:size], where)
    client.sendto(request(7), where)

    assert await count(client, until=response(7)) == 5


async def test_a_failure_of_the_application_is_answered_and_logged_once(
    caplog: pytest.LogCaptureFixture, client: socket.socket
) -> None:
    def broken(command: Command) -> Value:
        raise RuntimeError("the counters are unavailable")

    async with serve("127.0.0.1", 0, TOKEN, broken) as endpoint:
        with caplog.at_level(logging.ERROR):
            client.sendto(request(), ("127.0.0.1", endpoint.port))

            assert await receive(client) == response(1, Status.SERVER_FAILURE, 0)
    assert len(caplog.records) == 1
    assert "secretpa" not in caplog.text


async def test_valid_requests_are_never_rate_limited(
    endpoint: Endpoint, client: socket.socket
) -> None:
    for identifier in range(500):
        client.sendto(request(identifier), ("127.0.0.1", endpoint.port))

        assert await receive(client) == response(identifier)


async def test_errors_are_rate_limited_and_valid_requests_still_answered(
    client: socket.socket,
) -> None:
    limiter = ErrorRateLimiter(burst=5, per_second=0)
    async with serve("127.0.0.1", 0, TOKEN, answer, limiter=limiter) as endpoint:
        where = ("127.0.0.1", endpoint.port)
        for identifier in range(50):
            client.sendto(request(identifier, token=b"xxxxxxxx"), where)
        client.sendto(request(99), where)

        assert await count(client, until=response(99)) == 5


async def test_senders_of_errors_are_not_added_to_the_cached_addresses(
    endpoint: Endpoint, client: socket.socket
) -> None:
    kept = unpack_sockaddr.cache_info().currsize
    for number in range(20):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((f"127.0.1.{number}", 0))
            other.sendto(request(token=b"xxxxxxxx"), ("127.0.0.1", endpoint.port))
    client.sendto(request(99), ("127.0.0.1", endpoint.port))

    assert await receive(client) == response(99)
    assert unpack_sockaddr.cache_info().currsize == kept


async def settle() -> None:
    """Runs the event loop as often as a loop between servers needs to become visible."""
    for _ in range(500):
        await asyncio.sleep(0)


async def test_a_loop_between_two_servers_ends() -> None:
    """A relay sends each server the other's responses, as a forged source address would."""
    ports: list[int] = []
    received: list[bytes] = []

    def relay(datagram: bytes, source: tuple[str, int]) -> list[tuple[bytes, tuple[str, int]]]:
        received.append(datagram)
        return [(datagram, ("127.0.0.1", ports[1 - ports.index(source[1])]))]

    async with (
        serve("127.0.0.1", 0, TOKEN, answer) as first,
        serve("127.0.0.1", 0, Token.parse("otherone"), answer) as second,
        udp_socket(relay) as between,
    ):
        ports += [first.port, second.port]
        between.sendto(response(), ("127.0.0.1", first.port))
        await settle()

    assert (
        80 <= len(received) <= 84
    )  # forty from each, plus the refill while a slow machine runs the test


async def test_a_loop_of_a_server_with_itself_ends() -> None:
    asked: list[bool] = []

    class Witnessed(ErrorRateLimiter):
        def allows(self, source: str, now: float) -> bool:
            asked.append(super().allows(source, now))
            return asked[-1]

    async with serve(
        "127.0.0.1", 0, TOKEN, answer, limiter=Witnessed(burst=5, per_second=0)
    ) as endpoint:
        endpoint._socket.sendto(response(), ("127.0.0.1", endpoint.port))
        await settle()

    assert asked == [True] * 5 + [False]


def test_the_error_limit_refills_with_time_up_to_its_burst() -> None:
    limiter = ErrorRateLimiter(burst=2, per_second=1)

    assert [limiter.allows("a", 0) for _ in range(3)] == [True, True, False]
    assert limiter.allows("a", 1)
    assert not limiter.allows("a", 1.5)
    assert [limiter.allows("a", 100) for _ in range(3)] == [True, True, False]


def test_each_source_has_its_own_error_limit_and_the_table_is_bounded() -> None:
    limiter = ErrorRateLimiter(burst=1, per_second=0, sources=100)

    assert all(limiter.allows(f"192.0.2.{number}", 0) for number in range(1000))
    assert len(limiter) == 100


async def test_the_endpoint_answers_over_ipv6() -> None:
    async with serve("::1", 0, TOKEN, answer) as endpoint:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.sendto(request(), ("::1", endpoint.port))

            assert await receive(client) == response()


@pytest.mark.parametrize(
    ("everywhere", "here"),
    [("0.0.0.0", "127.0.0.7"), ("::", "::1"), ("", "127.0.0.7"), ("0", "127.0.0.7")],
)
async def test_a_wildcard_endpoint_answers_from_the_address_of_the_request(
    everywhere: str, here: str
) -> None:
    async with serve(everywhere, 0, TOKEN, answer) as endpoint:
        family = socket.AF_INET6 if ":" in here else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.sendto(request(), (here, endpoint.port))
            async with asyncio.timeout(5):
                _, source = await asyncio.get_running_loop().sock_recvfrom(client, 100)

    assert source[:2] == (here, endpoint.port)


async def test_an_address_in_use_is_an_error(endpoint: Endpoint) -> None:
    with pytest.raises(OSError, match="in use"):
        async with serve("127.0.0.1", endpoint.port, TOKEN, answer):
            pass


async def test_an_undeliverable_response_is_ignored(
    endpoint: Endpoint, client: socket.socket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.sendto(request(), ("127.0.0.1", endpoint.port))
    client.sendto(request(2), ("127.0.0.1", endpoint.port))

    assert await receive(client) == response(2)


def test_each_dialect_answers_only_its_own_requests() -> None:
    for dialect in DIALECTS.values():
        token = Token(bytes(dialect.token_length))
        for other in DIALECTS.values():
            datagram = Request(1, bytes(other.token_length), 0).encode(other)
            answered = respond(datagram, token, answer, dialect)

            assert (answered is not None) == (dialect is other)
