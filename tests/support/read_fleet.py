"""Reads a fleet of its own servers and prints the outcome as JSON; run in a network namespace that drops datagrams."""

import asyncio
import json
import sys

from protocol.address import HostPort
from protocol.client import Peer
from protocol.message import Value
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import Command
from tests.support.fleet import read_all

TOKEN = Token(b"secretpa")
VALUES: dict[Command, Value] = {
    Command.CONNECTIONS: 1_000_001,
    Command.ACTIVE_CONNECTIONS: 1_002,
    Command.TRANSFERRED_BYTES: 1_000_000_003,
    Command.TRANSFORMS: False,
}


async def read_fleet(port: int, count: int) -> dict[str, int]:
    peers = [
        Peer(HostPort(f"127.77.{number >> 8}.{number & 255}", port), TOKEN)
        for number in range(count)
    ]
    async with serve("0.0.0.0", port, TOKEN, VALUES.__getitem__):
        readings = await read_all(peers, timeout=6)
    answered = [reading for reading in readings if not reading.error]
    return {
        "answered": len(answered),
        "wrong": sum(reading.values != VALUES for reading in answered),
        "retransmissions": sum(reading.cost.retransmissions for reading in readings),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(read_fleet(int(sys.argv[1]), int(sys.argv[2])))))
