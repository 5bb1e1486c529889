"""Name server that answers A and AAAA from a table, rotates addresses, and does not answer for some names."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import cast

_A, _AAAA = 1, 28
_NAME_ERROR = 3


class NameServer(asyncio.DatagramProtocol):
    """`names` maps each name to its addresses; names below `.slow` are never answered."""

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._names = names
        self._turn = 0
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, query: bytes, client: tuple[str, int]) -> None:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind, end = ".".join(labels), int.from_bytes(query[at + 1 : at + 3]), at + 5
        self.asked.append(name)
        if name.endswith(".slow"):
            return
        version = {_A: 4, _AAAA: 6}.get(kind)
        addresses = [
            ip_address(one)
            for one in self._names.get(name, ())
            if ip_address(one).version == version
        ]
        if addresses:
            self._turn += 1
            turn = self._turn % len(addresses)
            addresses = addresses[turn:] + addresses[:turn]
        code = 0 if name in self._names else _NAME_ERROR
        head = query[:2] + bytes([0x85, 0x80 | code]) + (1).to_bytes(2)
        answers = b"".join(
            b"\xc0\x0c"
            + kind.to_bytes(2)
            + (1).to_bytes(2)
            + bytes(4)
            + len(one.packed).to_bytes(2)
            + one.packed
            for one in addresses
        )
        response = head + len(addresses).to_bytes(2) + bytes(4) + query[12:end] + answers
        self._transport.sendto(response, client)


async def serve_names(names: Mapping[str, Sequence[str]]) -> NameServer:
    """Serves on port 53 of 127.0.0.1, in a namespace whose resolv.conf names that address."""
    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(
        lambda: NameServer(names), ("127.0.0.1", 53), family=socket.AF_INET
    )
    return server
