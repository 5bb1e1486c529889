"""Transfers over real sockets, in batches and individually, for both address families."""

import asyncio
import errno
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from protocol.address import Address
from protocol.errors import Resource, Shortage
from protocol.port import BatchPort
from protocol.sockets import Sockets, Transfer

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=[True, False], ids=["batched", "single"])
async def sockets(request: pytest.FixtureRequest) -> AsyncIterator[Sockets]:
    made = Sockets(asyncio.Event(), batched=request.param)
    yield made
    made.close()


@pytest.fixture(params=HOSTS, ids=["IPv4", "IPv6"])
def server(request: pytest.FixtureRequest) -> socket.socket:
    opened = socket.socket(request.param, socket.SOCK_DGRAM)
    opened.bind((HOSTS[request.param], 0))
    opened.settimeout(5)
    return opened


async def until_something(sockets: Sockets) -> Transfer:
    async with asyncio.timeout(5):
        while True:
            found = sockets.transfer([])
            if found.arrived or found.undelivered:
                return found
            await asyncio.sleep(0)


async def test_a_transfer_sends_the_given_datagrams_and_returns_the_received_ones(
    sockets: Sockets, server: socket.socket
) -> None:
    with closing(server):
        address: Address = server.getsockname()
        texts = [b"one", b"two", b"three"]  # of different lengths

        first = sockets.transfer([(text, address) for text in texts])
        received = [server.recvfrom(100) for _ in texts]
        for text, client in received:
            server.sendto(text.upper(), client)
        answered = await until_something(sockets)

    assert first.undelivered == []
    assert [text for text, _ in received] == texts
    assert answered.arrived == [(b"ONE", address), (b"TWO", address), (b"THREE", address)]
    assert answered.drained


async def test_datagrams_move_in_batches_where_the_system_has_them() -> None:
    sockets = Sockets(asyncio.Event())

    assert isinstance(sockets.open(socket.AF_INET), BatchPort) is (sys.platform == "linux")
    sockets.close()


async def test_a_datagram_that_is_too_long_is_reported_as_such(
    sockets: Sockets, server: socket.socket
) -> None:
    with closing(server):
        sockets.transfer([(b"x", server.getsockname())])
        _, client = server.recvfrom(100)
        server.sendto(bytes(1000), client)
        found = await until_something(sockets)

    assert 64 < len(found.arrived[0][0]) < 1000


async def test_a_closed_port_is_reported_with_its_datagram_and_the_others_are_sent(
    sockets: Sockets, server: socket.socket
) -> None:
    with closing(server), socket.socket(server.family, socket.SOCK_DGRAM) as unused:
        unused.bind((HOSTS[server.family], 0))
        closed: Address = unused.getsockname()
        unused.close()
        here: Address = server.getsockname()

        found = sockets.transfer([(b"a", closed), (b"b", here), (b"c", closed), (b"d", here)])
        undelivered = list(found.undelivered)
        while len(undelivered) < 2:
            undelivered += (await until_something(sockets)).undelivered
        received = [server.recvfrom(100)[0] for _ in range(2)]

    assert received == [b"b", b"d"]
    assert {(one.datagram, one.address) for one in undelivered} == {(b"a", closed), (b"c", closed)}
    assert {one.error.errno for one in undelivered} == {errno.ECONNREFUSED}
    assert all(one.was_sent for one in undelivered)


async def test_a_datagram_that_cannot_be_sent_is_returned_and_the_others_are_sent(
    sockets: Sockets, server: socket.socket
) -> None:
    with closing(server):
        here: Address = server.getsockname()
        nowhere: Address = (here[0], 0, *here[2:])
        found = sockets.transfer([(b"a", here), (b"b", nowhere), (b"c", here)])
        received = [server.recvfrom(100)[0] for _ in range(2)]

    assert received == [b"a", b"c"]
    assert [(one.datagram, one.was_sent) for one in found.undelivered] == [(b"b", False)]


async def test_a_socket_that_cannot_be_opened_is_a_shortage(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(Shortage, match="Too many open files in system") as caught:
        sockets.transfer([(b"a", ("127.0.0.1", 7030))])

    assert caught.value.resource is Resource.DESCRIPTORS


async def test_an_unsupported_address_family_is_not_a_shortage(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", fail)
    found = sockets.transfer([(b"a", ("::1", 7030, 0, 0))])

    assert [one.was_sent for one in found.undelivered] == [False]


async def test_a_full_send_buffer_returns_the_datagrams_that_do_not_fit(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = sockets.open(socket.AF_INET)

    def refuse(*_: object) -> tuple[int, bool]:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(type(port), "send", refuse)
    found = sockets.transfer([(b"a", ("127.0.0.1", 7030)), (b"b", ("127.0.0.1", 7030))])

    assert [one.datagram for one in found.undelivered] == [b"a", b"b"]
    assert {one.error.errno for one in found.undelivered} == {errno.EAGAIN}
