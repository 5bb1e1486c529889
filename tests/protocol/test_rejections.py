"""Log lines of the endpoint: rejected tokens, rate limited, and every switch of the transforms."""

import asyncio
import logging
import socket

import pytest

from protocol import rejections
from protocol.message import Request, Response
from protocol.ratelimit import network_of
from protocol.rejections import RejectedTokens
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import Command, Status

TOKEN = Token.parse("secretpa")

NETWORKS = {
    "192.0.2.1": "192.0.2.1",
    "::ffff:192.0.2.1": "192.0.2.1",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2::": "2001:db8:1:2::/64",
    "fe80::1%eth0": "fe80::/64",
    "": "",
    "unknown": "unknown",
    "no:address": "no:address",
}


@pytest.mark.parametrize(("host", "network"), NETWORKS.items())
def test_clients_are_grouped_by_ipv4_address_and_ipv6_64(host: str, network: str) -> None:
    assert network_of(host) == network


def counted(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    found = [vars(record) for record in caplog.records if record.msg == "Wrong token"]
    return [(fields["source"], fields["requests"]) for fields in found]


async def test_wrong_tokens_of_a_network_are_logged_immediately_and_then_once_a_period(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "_PERIOD_S", 0.05)
    rejected = RejectedTokens()
    for _ in range(5):
        rejected.add("192.0.2.1")
    rejected.add("2001:db8::1")
    rejected.add("2001:db8::2")
    assert counted(caplog) == [("192.0.2.1", 1), ("2001:db8::/64", 1)]

    async with asyncio.timeout(5):
        while len(counted(caplog)) < 4:
            await asyncio.sleep(0.01)

    assert counted(caplog)[2:] == [("192.0.2.1", 4), ("2001:db8::/64", 1)]
    rejected.close()
    assert len(counted(caplog)) == 4


async def test_wrong_tokens_of_many_networks_are_logged_in_few_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rejected = RejectedTokens(networks=3)
    for number in range(250):
        rejected.add(f"192.0.2.{number}")

    rejected.close()

    assert len(counted(caplog)) == 5
    assert counted(caplog)[3:] == [("others", 1), ("others", 246)]


async def test_the_endpoint_logs_wrong_tokens_and_switches_with_their_source(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    def answer(command: Command) -> bool:
        return command is Command.ENABLE_TRANSFORMS

    loop = asyncio.get_running_loop()
    async with serve("127.0.0.1", 0, TOKEN, answer) as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", endpoint.port))
            for token, code in (
                (b"x" * 8, 3),
                (b"x" * 8, 3),
                (TOKEN.octets, 5),
                (TOKEN.octets, 3),
            ):
                client.send(Request(1, token, code).encode())
                await asyncio.wait_for(loop.sock_recv(client, 100), 5)

    assert counted(caplog) == [("127.0.0.1", 1), ("127.0.0.1", 1)]
    [changed] = [vars(record) for record in caplog.records if record.msg == "Setting changed"]
    assert (changed["command"], changed["source"]) == ("disable_transforms", "127.0.0.1")


async def test_valid_requests_are_answered_among_a_burst_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Valid requests are last in a buffer full of wrong tokens, short and foreign datagrams."""
    loop = asyncio.get_running_loop()
    async with serve("127.0.0.1", 0, TOKEN, lambda _: 7) as endpoint:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            client.setblocking(False)
            for opened in (flood, client):
                opened.connect(("127.0.0.1", endpoint.port))
            for number in range(
                180
            ):  # more than are read in one callback, fewer than the buffer holds
                flood.send(
                    (Request(1, b"x" * 8, 0).encode(), b"\xcf\xfe\x00", b"\xff")[number % 3]
                )
            client.send(Request(2, TOKEN.octets, 0).encode())

            assert (await asyncio.wait_for(loop.sock_recv(client, 100), 5))[-1] == 7


async def test_all_valid_requests_of_a_burst_are_answered_and_48_wrong_ones_examined(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    valid, wrong = (Request(1, token, 0).encode() for token in (TOKEN.octets, b"x" * 8))
    async with serve("127.0.0.1", 0, TOKEN, lambda _: 7) as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", endpoint.port))
            for _ in range(96):  # together as many as are read in one callback
                client.send(valid)
                client.send(wrong)
            statuses: list[Status] = []
            while statuses.count(Status.DONE) < 96:
                octets = await asyncio.wait_for(loop.sock_recv(client, 100), 5)
                statuses.append(Response.decode(octets).status)

    assert statuses.count(Status.AUTHENTICATION_FAILED) == 40  # the limit of the network
    assert sum(vars(record)["requests"] for record in caplog.records) == 48
