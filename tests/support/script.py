"""Network with a scripted fault for each request of each target.

One socket acts as the server at every address of 127.0.0.0/8, on one port. Another port of these addresses is closed.
"""

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address
from typing import Literal

from protocol.dialect import Dialect
from protocol.message import Request, Response, Value, result
from protocol.vocabulary import FLAGS, Command, Status
from tests.support.every_address import every_address, received, send

Fault = Literal[
    "answer",
    "lose",
    "double",
    "delay",
    "error",
    "invalid flag",
    "only a invalid flag",
    "short",
    "long",
    "signature",
    "version",
    "status",
    "identifier",
    "elsewhere",
    "echo",
    "unknown status",
]
"""Fault applied to a request. In most cases a valid response is sent too, after or before the faulty one."""

FAULTS: tuple[Fault, ...] = Fault.__args__  # type: ignore[attr-defined]

_ELSEWHERE = "127.99.0.1"
DELAY_S = 0.02


def value(address: str, command: Command) -> Value:
    """What the server at `address` reports: different for each address and command."""
    number = int(IPv4Address(address))
    return bool(number % 2) if command in FLAGS else number % 251 + 1000 * len(command)


class ScriptedNetwork:
    """`script` lists for each address and code the faults of the first, second, … transmission."""

    def __init__(
        self,
        opened: socket.socket,
        dialect: Dialect,
        script: Mapping[tuple[str, int], Sequence[Fault]],
    ) -> None:
        self._socket, self._dialect, self._script = opened, dialect, script
        self._seen: defaultdict[tuple[str, int, tuple[str, int]], int] = defaultdict(int)

    def receive(self, datagram: bytes, address: str, client: tuple[str, int]) -> None:
        dialect = self._dialect
        request = Request.decode(datagram, dialect)
        number = self._seen[address, request.code, client]
        self._seen[address, request.code, client] += 1
        script = self._script.get((address, request.code), ())
        fault: Fault = script[number] if number < len(script) else "answer"
        command = dialect.codes[request.code]
        answer = Response(
            request.identifier, Status.DONE, result(command, value(address, command), dialect)
        ).encode(dialect)
        for octets, source, delay in self._responses(fault, datagram, answer, address):
            if delay:
                loop = asyncio.get_running_loop()
                loop.call_later(delay, self._send, octets, source, client)
            else:
                self._send(octets, source, client)

    def _responses(
        self, fault: Fault, request: bytes, answer: bytes, address: str
    ) -> list[tuple[bytes, str, float]]:
        dialect, good = self._dialect, (answer, address, 0.0)
        place, status = dialect.response_identifier, dialect.status.offset
        match fault:
            case "lose":
                return []
            case "double":
                return [good, good]
            case "delay":
                return [(answer, address, DELAY_S)]
            case "error":
                code = dialect.status_codes[Status.AUTHENTICATION_FAILED]
                return [(_set(answer, status, code), address, 0.0)]
            case "invalid flag":
                return [(answer[:-1] + b"\x77", address, 0.0), good]
            case "only a invalid flag":
                return [(answer[:-1] + b"\x77", address, 0.0)]
            case "short":
                return [(answer[:-1], address, 0.0), good]
            case "long":
                return [(answer + b"\0", address, 0.0), good]
            case "signature":
                return [(_set(answer, 0, 0x11), address, 0.0), good]
            case "version":
                return [(_set(answer, len(dialect.signature), 0x11), address, 0.0), good]
            case "status":
                return [(_set(answer, status, 0xEE), address, 0.0), good]
            case "identifier":
                return [(_set(answer, place.offset, answer[place.offset] ^ 1), address, 0.0), good]
            case "elsewhere":
                return [(answer, _ELSEWHERE, 0.0), good]
            case "echo":
                return [(request, address, 0.0), good]
            case "unknown status":
                return [good, (_set(answer, status, 0xEE), address, 0.0)]
        return [good]

    def _send(self, datagram: bytes, address: str, client: tuple[str, int]) -> None:
        with suppress(OSError):  # the client has closed its port
            send(self._socket, datagram, address, client)


def _set(datagram: bytes, place: int, octet: int) -> bytes:
    return datagram[:place] + bytes([octet]) + datagram[place + 1 :]


@asynccontextmanager
async def scripted_network(
    dialect: Dialect, script: Mapping[tuple[str, int], Sequence[Fault]]
) -> AsyncIterator[int]:
    """Yields the port of every server."""
    with every_address() as opened:
        with received(opened, ScriptedNetwork(opened, dialect, script).receive):
            yield opened.getsockname()[1]
