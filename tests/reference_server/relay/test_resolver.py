"""The addresses of a next hop."""

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.address import HostPort
from reference_server.relay.next_hop import NextHop, Protocol
from reference_server.relay.resolver import Resolver

Found = list[tuple[int, int, int, str, tuple[str, int]]]


def answering(look_up: Callable[[], Found], monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: object, **keywords: object) -> object:
        if host == "hop.example":
            return look_up()
        return real(host, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def resolver(url: str) -> Resolver:
    return Resolver(NextHop.parse(url))


async def test_numeric_addresses_and_paths_need_no_look_up() -> None:
    assert await resolver("smtp://127.0.0.1:25").addresses() == (HostPort("127.0.0.1", 25),)
    assert await resolver("smtp://[::1]:25").addresses() == (HostPort("::1", 25),)
    path = NextHop(Protocol.LMTP, Path("/run/lmtp"))
    assert await Resolver(path).addresses() == (Path("/run/lmtp"),)


async def test_all_addresses_of_a_name_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: Found = [(0, 0, 0, "", ("192.0.2.1", 25)), (0, 0, 0, "", ("2001:db8::1", 25))]
    answering(lambda: entries, monkeypatch)
    found = resolver("smtp://hop.example:25")

    assert await found.addresses() == [HostPort("192.0.2.1", 25), HostPort("2001:db8::1", 25)]
    found.close()


async def test_callers_at_the_same_time_share_a_look_up_and_one_that_gives_up_ends_it_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, looked_up = threading.Event(), []

    def look_up() -> Found:
        looked_up.append(1)
        answered.wait(5)
        return [(0, 0, 0, "", ("192.0.2.1", 25))]

    answering(look_up, monkeypatch)
    found = resolver("smtp://hop.example:25")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await found.addresses()
    waiting = [asyncio.create_task(found.addresses()) for _ in range(3)]
    await asyncio.sleep(0)
    answered.set()

    assert await asyncio.gather(*waiting) == [[HostPort("192.0.2.1", 25)]] * 3
    assert len(looked_up) == 1
    found.close()


async def test_a_name_that_cannot_be_resolved_raises_oserror(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up() -> Found:
        raise socket.gaierror(-2, "Name or service not known")

    answering(look_up, monkeypatch)
    found = resolver("smtp://hop.example:25")
    for _ in range(2):
        with pytest.raises(OSError, match="not known"):
            await found.addresses()
    found.close()
