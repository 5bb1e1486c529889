"""Test vectors of docs/protocol.md, run by the client and by the server."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.dialects import V0
from protocol.message import Request, Response, Value
from protocol.server import respond
from protocol.token import Token
from protocol.vocabulary import Command, Status

TOKEN = Token.parse("secretpa")
DOCUMENT = Path(__file__).parents[2] / "docs/protocol.md"
COMMANDS = {
    "connections": Command.CONNECTIONS,
    "active connections": Command.ACTIVE_CONNECTIONS,
    "transferred bytes": Command.TRANSFERRED_BYTES,
    "transforms": Command.TRANSFORMS,
    "enable transforms": Command.ENABLE_TRANSFORMS,
    "disable transforms": Command.DISABLE_TRANSFORMS,
}
LINE = re.compile(r"[<>] ((?:(?:[0-9a-f]{2})+ )+) *(\S.*)")


@dataclass(frozen=True)
class Vector:
    request: bytes
    asked: str
    response: bytes | None
    meaning: str

    @property
    def value(self) -> Value | None:
        flags = {"on": True, "off": False}
        return flags.get(self.meaning, int(self.meaning) if self.meaning.isdigit() else None)

    @property
    def status(self) -> Status:
        return Status.DONE if self.value is not None else Status(self.meaning)


def split(line: str) -> tuple[bytes | None, str]:
    if line == "< nothing":
        return None, "nothing"
    matched = LINE.fullmatch(line)
    assert matched, line
    return bytes.fromhex(matched[1]), matched[2]


def vectors() -> list[Vector]:
    blocks = re.findall(r"```smtpstatus\n(.*?)```", DOCUMENT.read_text(), re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    found = []
    for asked, answered in zip(lines[::2], lines[1::2], strict=True):
        assert (asked[0], answered[0]) == (">", "<")
        request, name = split(asked)
        assert request is not None
        found.append(Vector(request, name, *split(answered)))
    return found


VECTORS = vectors()
ids = [f"{vector.request.hex()}: {vector.meaning}" for vector in VECTORS]


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_the_server_answers_each_documented_request_as_documented(vector: Vector) -> None:
    def answer(command: Command) -> Value | None:
        assert command is COMMANDS[vector.asked]
        return vector.value

    response = respond(vector.request, TOKEN, answer)

    assert vector.response == (response.encode() if response else None)


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_the_client_encodes_and_decodes_each_documented_datagram(vector: Vector) -> None:
    if vector.response is None:
        return
    response = Response.decode(vector.response)

    assert response.status is vector.status
    if vector.value is not None:
        command = COMMANDS[vector.asked]
        assert (
            vector.request == Request(0x1234, TOKEN.octets, V0.operations[command].code).encode()
        )
        assert response.value(command) is vector.value or response.value(command) == vector.value


def test_the_document_has_a_vector_for_every_command_and_status() -> None:
    covered = {vector.status for vector in VECTORS if vector.response}

    assert {vector.asked for vector in VECTORS} >= set(COMMANDS)
    assert covered == {
        Status.DONE,
        Status.AUTHENTICATION_FAILED,
        Status.INVALID_VERSION,
        Status.INVALID_COMMAND,
        Status.INVALID_REQUEST,
    }
