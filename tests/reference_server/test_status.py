import asyncio
from pathlib import Path

import pytest

from protocol.address import HostPort
from protocol.client import Peer, connect
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.message import Request
from protocol.server import respond
from protocol.token import Token
from protocol.vocabulary import FLAGS, Command
from reference_server.status import ServerStatus
from smtpstatus.dialects import read_file
from tests.reference_server.server import running

COUNTS = {
    Command.CONNECTIONS: 1,
    Command.ACTIVE_CONNECTIONS: 2,
    Command.RECEIVED_BYTES: 3,
    Command.SENT_BYTES: 4,
    Command.TRANSFERRED_BYTES: 7,
    Command.MAILS: 5,
}


def test_every_counter_is_reported() -> None:
    status = ServerStatus(1, 2, 3, 4, 5)

    assert {command: status.answer(command) for command in COUNTS} == COUNTS


@pytest.mark.parametrize(
    ("read", "on", "off"),
    [
        (Command.TRANSFORMS, Command.ENABLE_TRANSFORMS, Command.DISABLE_TRANSFORMS),
        (Command.VERBOSE, Command.ENABLE_VERBOSE, Command.DISABLE_VERBOSE),
    ],
)
def test_a_switch_answers_with_its_state_after_the_command(
    read: Command, on: Command, off: Command
) -> None:
    status = ServerStatus()

    assert [status.answer(command) for command in (on, read, off, read, off, on)] == [
        True, True, False, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
async def test_every_dialect_is_served(name: str, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    token = "hex:" + "6f" * dialect.token_length
    with running(tmp_path, "--dialect", name, "--token", token) as server:
        peer = Peer(
            HostPort("127.0.0.1", server.status), Token.parse(token, dialect.token_length), dialect
        )
        async with connect(peer) as connection:
            reading = await connection.read(timeout=5)

    assert reading.error is None
    started = {Command.TRANSFORMS: True, Command.VERBOSE: False}
    assert reading.values == {
        command: started[command] if command in FLAGS else 0 for command in dialect.reads
    }


async def test_a_dialect_from_a_file_is_served(tmp_path: Path) -> None:
    file = tmp_path / "dialects.yml"
    file.write_text(
        "dialects: {mine: {signature: abcd, byte_order: little, statuses: {done: 0},"
        " commands: {connections: {code: 9}, mails: {code: 8, value: [6, 4]}},"
        " request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13},"
        " response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}}}\n"
    )
    token = Token(b"secretpa")
    flags = ("--dialect-file", str(file), "--dialect", "mine", "--token", "secretpa")
    with running(tmp_path, *flags) as server:
        peer = Peer(HostPort("127.0.0.1", server.status), token, read_file(file)["mine"])
        async with connect(peer) as connection:
            reading = await connection.read(timeout=5)

    assert reading.values == {Command.CONNECTIONS: 0, Command.MAILS: 0}


def test_a_verbose_server_logs_connections(tmp_path: Path) -> None:
    async def converse(port: int, status: int) -> None:
        peer = Peer(HostPort("127.0.0.1", status), Token.parse("hex:6f", 1), DIALECTS["group-6"])
        async with connect(peer) as connection:
            await connection.ask(Command.ENABLE_VERBOSE, timeout=5)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"QUIT\r\n")
            await reader.read()
            writer.close()

    with running(tmp_path, "--dialect", "group-6", "--token", "hex:6f") as server:
        asyncio.run(converse(server.smtp, server.status))
        server.stop()

        log = server.log.read_text()
    assert 'msg="Connection opened" client=127.0.0.1' in log
    assert 'msg="Connection closed" client=127.0.0.1' in log


SWITCHES = [
    (dialect, command)
    for dialect in DIALECTS.values()
    for command in (Command.ENABLE_TRANSFORMS, Command.ENABLE_VERBOSE)
    if command in dialect.operations and dialect.operations[command].value
]


@pytest.mark.parametrize(("dialect", "command"), SWITCHES, ids=lambda value: value.name)
def test_switching_on_returns_on(dialect: Dialect, command: Command) -> None:
    token, operation = Token(b"x" * dialect.token_length), dialect.operations[command]
    request = Request(1, token.octets, operation.code).encode(dialect)

    response = respond(request, token, ServerStatus().answer, dialect)

    assert response
    assert operation.value
    start = operation.value.offset - dialect.result.offset
    value = response.result[start : start + operation.value.size]
    assert int.from_bytes(value, dialect.byte_order) == dialect.on
