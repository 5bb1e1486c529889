"""Wireshark dissector, run by tshark on captured traffic."""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from protocol.message import Value
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import Command
from tests.support.real import require

SCRIPT = Path(__file__).parents[2] / "docs" / "wireshark" / "smtpstatus.lua"
VALUES: dict[Command, Value] = {Command.CONNECTIONS: 2**63 + 1, Command.TRANSFORMS: False}
TOKEN = "7365637265747061"

Packet = dict[str, str]


def dissected(capture: Path, port: int) -> list[Packet]:
    """Fields of every packet, by name."""
    names = [
        "_ws.col.Protocol",
        "_ws.col.Info",
        *(
            f"smtpstatus.{name}"
            for name in [
                "id",
                "command",
                "status",
                "number",
                "enabled",
                "response_in",
                "response_to",
                "time",
            ]
        ),
        "_ws.expert.message",
    ]
    columns = [argument for name in names for argument in ("-e", name)]
    settings = ["-X", f"lua_script:{SCRIPT}", "-o", f"smtpstatus.port:{port}"]
    printed = subprocess.run(
        [require("tshark"), "-2", "-r", capture, *settings, "-T", "fields", *columns],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "lua" not in printed.stderr.lower(), printed.stderr
    return [
        dict(zip(names, line.split("\t"), strict=True)) for line in printed.stdout.splitlines()
    ]


@asynccontextmanager
async def captured(path: Path, port: int, count: int) -> AsyncIterator[None]:
    """Captures the next `count` loopback packets of a UDP port; the file is complete when the context ends."""
    process = await asyncio.create_subprocess_exec(
        *(require("dumpcap"), "-q", "-i", "lo", "-f", f"udp port {port}", "-w", str(path)),
        *("-c", str(count), "-a", "duration:20"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    said = b""
    while line := await process.stderr.readline():
        said += line
        if line.startswith(b"File:"):
            break
    else:
        await process.wait()
        refused = pytest.fail if os.environ.get("SMTPSTATUS_REQUIRE_REAL") == "1" else pytest.skip
        refused(f"this user cannot capture: {said.decode()}")
    yield
    await process.wait()


async def packets(tmp_path: Path, *sent: str, at_once: bool = False) -> list[Packet]:
    """tshark's output for requests sent to a server one by one, and its responses."""
    capture = tmp_path / "capture.pcapng"
    loop = asyncio.get_running_loop()
    answered = [datagram for datagram in sent if datagram.startswith("cffe")]
    count = len(sent) + len(answered)
    async with serve("127.0.0.1", 0, Token(bytes.fromhex(TOKEN)), VALUES.__getitem__) as endpoint:
        async with captured(capture, endpoint.port, count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect(("127.0.0.1", endpoint.port))
                for batch in [sent] if at_once else [[datagram] for datagram in sent]:
                    for datagram in batch:
                        client.send(bytes.fromhex(datagram))
                    for _ in [datagram for datagram in batch if datagram in answered]:
                        await asyncio.wait_for(loop.sock_recv(client, 100), 5)
    return await asyncio.to_thread(dissected, capture, endpoint.port)


async def test_requests_and_responses_are_named_linked_and_timed(tmp_path: Path) -> None:
    historic, three, transforms, off = await packets(
        tmp_path, f"cffe00 1234 {TOKEN} 00", f"cffe00 1235 {TOKEN} 03"
    )

    assert historic["_ws.col.Protocol"] == "SMTPStatus"
    assert historic["_ws.col.Info"] == "Request 0x1234, historic connections"
    assert (historic["smtpstatus.id"], historic["smtpstatus.response_in"]) == ("0x1234", "2")
    assert three["_ws.col.Info"] == f"Response 0x1234, done: {2**63 + 1}"
    assert (three["smtpstatus.number"], three["smtpstatus.response_to"]) == (str(2**63 + 1), "1")
    assert 0 < float(three["smtpstatus.time"]) < 5
    assert transforms["_ws.col.Info"] == "Request 0x1235, state of the transforms"
    assert off["_ws.col.Info"] == "Response 0x1235, done: off"
    assert (off["smtpstatus.enabled"], off["smtpstatus.number"]) == ("0", "")


async def test_malformed_packets_are_marked(tmp_path: Path) -> None:
    found = await packets(
        tmp_path,
        f"cffe00 0001 {TOKEN}",
        "cffe00 0002 7878787878787878 00",
        f"cffe07 0003 {TOKEN} 00",
        f"cffe00 0004 {TOKEN} 63",
        "cffe",
        "aaaa",
        f"cffe00 0005 {TOKEN} 00 00",
    )

    assert [(packet["_ws.col.Info"], packet["_ws.expert.message"]) for packet in found] == [
        ("Malformed, 13 bytes", "13 bytes, not 14"),
        ("Response 0x0001, invalid request (wrong size)", "invalid request (wrong size)"),
        ("Request 0x0002, historic connections", ""),
        ("Response 0x0002, authentication failed", "authentication failed"),
        ("Request 0x0003, historic connections", "Unknown version"),
        ("Response 0x0003, invalid version", "invalid version"),
        ("Request 0x0004, unknown command", "Unknown command"),
        ("Response 0x0004, invalid command", "invalid command"),
        ("Malformed, 2 bytes", "2 bytes, not 14"),
        (
            "Response 0x0000, invalid request (wrong size)",
            "invalid request (wrong size),No request seen",
        ),
        ("Foreign datagram, 2 bytes", "Foreign signature"),
        ("Malformed, 15 bytes", "15 bytes, not 14"),
        ("Response 0x0005, invalid request (wrong size)", "invalid request (wrong size)"),
    ]


async def test_a_retransmitted_request_is_marked(tmp_path: Path) -> None:
    request = f"cffe00 1234 {TOKEN} 00"

    first, second, answer, _ = await packets(tmp_path, request, request, at_once=True)

    assert (first["_ws.expert.message"], second["_ws.expert.message"]) == ("", "Sent again")
    assert answer["_ws.expert.message"] == ""


async def test_a_reused_identifier_after_its_response_is_another_request(tmp_path: Path) -> None:
    request = f"cffe00 1234 {TOKEN} 00"

    found = await packets(tmp_path, request, request)

    assert [packet["_ws.expert.message"] for packet in found] == ["", "", "", ""]
    assert [packet["smtpstatus.response_to"] for packet in found] == ["", "1", "", "3"]
