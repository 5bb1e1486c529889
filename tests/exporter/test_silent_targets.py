"""Silent servers do not delay others, and each is reported as down in every round."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.exporter.running import TOKEN, Start, running_mail_server

GOOD, SILENT, ROUNDS = 20, 200, 2


@pytest.fixture
def silent_port() -> Iterator[int]:
    """UDP port that accepts datagrams on every loopback address and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("0.0.0.0", 0))
        yield listening.getsockname()[1]


async def probe(port: int, name: str) -> tuple[str, str, bool]:
    """Name, status line, and whether the target is up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /probe?target={name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "X-Prometheus-Scrape-Timeout-Seconds: 1.6\r\n\r\n".encode()
    )
    answer = (await reader.read()).decode()
    writer.close()
    return name, answer.partition("\r\n")[0], "\nsmtpstatus_up 1.0\n" in answer


async def test_twenty_good_and_two_hundred_silent_servers_are_all_reported_in_every_round(
    start: Start, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes all targets of /sd simultaneously, with the default --web.max-requests."""
    # On a busy machine the exporter may report its own stalls, which are not tested here.
    monkeypatch.setattr("protocol.multiplexer._STALL_S", 60.0)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(running_mail_server()) for _ in range(GOOD)]
        addresses = {f"good-{number}": server.address for number, server in enumerate(servers)}
        addresses |= {f"silent-{n}": f"127.1.0.{n + 1}:{silent_port}" for n in range(SILENT)}
        targets = "\n".join(
            f"  - {{name: {name}, address: '{address}', token: {TOKEN}}}"
            for name, address in addresses.items()
        )
        exporter = await start(f"targets:\n{targets}\n")
        listed = (await exporter.http.get("/sd")).json()
        names = [group["labels"]["__param_target"] for group in listed]
        assert len(names) == GOOD + SILENT

        for _ in range(ROUNDS):
            found = await asyncio.gather(*(probe(exporter.port, name) for name in names))
            assert {status for _, status, _ in found} == {"HTTP/1.1 200 OK"}
            assert {name for name, _, up in found if up} == {
                name for name in names if name.startswith("good-")
            }
