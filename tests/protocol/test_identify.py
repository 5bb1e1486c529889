"""`smtpstatus identify`, and dialects from a file for every subcommand."""

import asyncio
import json
from pathlib import Path
from time import monotonic

import pytest

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.ratelimit import ErrorRateLimiter
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import WRITES, Command
from smtpstatus.dialects import read_file
from tests.protocol.cli import Cli
from tests.support.processes import COMMANDS
from tests.support.udp import udp_server

TOKEN = Token(b"secretpa")
FILE = """\
dialects:
  silent:
    signature: abcd
    silent_errors: true
    request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13}
    response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}
    commands: {connections: {code: 0}, active_connections: {code: 1}, transforms: {code: 3},
      enable_transforms: {code: 4}, disable_transforms: {code: 5}}
    statuses: {done: 0}
  twin:
    signature: cffe
    byte_order: little
    request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13}
    response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}
    commands: {connections: {code: 0}}
    statuses: {done: 0, authentication_failed: 1}
  unsafe:
    signature: abce
    request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13}
    response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}
    commands: {connections: {code: 5}}
    statuses: {done: 0}
  bare:
    signature: ''
    request: {length: 18, identifier: none, token: [1, 8], command: 17}
    response: {length: 10, identifier: none, status: 1, result: [2, 8]}
    commands: {connections: {code: 0}, active_connections: {code: 1}}
    statuses: {done: 0, authentication_failed: 1, invalid_request: 4}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "dialects.yml"
    path.write_text(FILE)
    return str(path)


def own(file: str, name: str) -> Dialect:
    return read_file(Path(file))[name]


async def test_a_server_that_ignores_wrong_tokens_is_found_with_a_token(
    cli: Cli, file: str
) -> None:
    async with serve("127.0.0.1", 0, TOKEN, lambda command: 1, own(file, "silent")) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        arguments = ("identify", target, "--dialect-file", file, "--timeout", "200ms")
        assert await cli(*arguments) == 3
        assert "a server of silent does not answer a wrong token: pass --token" in cli.err
        assert await cli(*arguments, "--token", "secretpa") == 0

    assert cli.out.splitlines()[0] == f"{target} speaks silent"


async def test_identify_ends_soon_after_the_answer(cli: Cli) -> None:
    async with serve("127.0.0.1", 0, TOKEN, lambda command: 1) as endpoint:
        start = monotonic()
        assert await cli("identify", f"127.0.0.1:{endpoint.port}", "--timeout", "1m") == 0

    assert monotonic() - start < 20


async def test_dialects_with_the_same_answer_are_listed_and_distinguished_with_a_token(
    cli: Cli, file: str
) -> None:
    async with serve("127.0.0.1", 0, TOKEN, lambda command: 3) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        arguments = ("identify", target, "--dialect-file", file, "--timeout", "2s")
        assert await cli(*arguments) == 0
        assert f"the response of {target} is the same in v0 and twin: pass --token" in cli.out
        assert await cli(*arguments, "--token", "secretpa", "--json") == 0

    assert [one["dialect"] for one in cli.json["dialects"]] == ["v0"]
    twin = next(probe for probe in cli.json["probes"] if probe["dialect"] == "twin")
    assert "byte order" in twin["result"]


async def test_no_probe_is_sent_that_would_write_in_a_known_dialect(cli: Cli, file: str) -> None:
    received: set[bytes] = set()

    def listen(datagram: bytes) -> list[bytes]:
        received.add(datagram)
        return []

    dialects = [*DIALECTS.values(), *read_file(Path(file)).values()]
    async with udp_server(listen) as port:
        arguments = ("identify", f"127.0.0.1:{port}", "--dialect-file", file, "--timeout", "100ms")
        assert await cli(*arguments) == 3
        assert "not probed in dialect unsafe: its reads are commands that write" in cli.err
        assert await cli(*arguments, "--token", "hex:0505050505050505") == 3

    assert received
    for dialect in dialects:
        writes = {dialect.operations[c].code for c in WRITES & dialect.operations.keys()}
        for datagram in received:
            assert not writes & set(datagram[dialect.command.span])


async def test_the_environments_token_is_not_sent_to_unknown_servers(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPSTATUS_TOKEN", "secretpa")
    received: list[bytes] = []

    def listen(datagram: bytes) -> list[bytes]:
        received.append(datagram)
        return []

    async with udp_server(listen) as port:
        await cli("identify", f"127.0.0.1:{port}", "--timeout", "50ms")

    assert received
    assert not any(b"secretpa" in datagram for datagram in received)


async def test_every_subcommand_accepts_a_dialect_from_a_file(cli: Cli, file: str) -> None:
    state = {Command.TRANSFORMS: True}

    def answer(command: Command) -> int | bool:
        if command in WRITES:
            state[Command.TRANSFORMS] = command is Command.ENABLE_TRANSFORMS
        return state.get(command, 7)

    mine = ("--dialect-file", file, "--dialect", "silent", "--token", "secretpa")
    limiter = ErrorRateLimiter(150)
    dialect = own(file, "silent")
    async with serve("127.0.0.1", 0, TOKEN, answer, dialect, limiter) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        assert await cli("get", target, *mine) == 0
        assert await cli("watch", target, "--count", "1", *mine) == 0
        assert await cli("transforms", target, "off", *mine) == 0
        assert cli.out == "transforms off\n"
        assert await cli("check", target, *mine) == 0
        assert "a wrong token gets no response" in cli.out
    assert await cli("decode", "abcd00123473656372657470610004", *mine[:4]) == 1
    assert await cli("decode", "abcd001234736563726574706104", *mine[:2]) == 0
    assert "a request of silent" in cli.out
    assert "enable transforms" in cli.out


async def test_a_server_without_signature_and_identifiers_is_read_and_checked(
    cli: Cli, file: str
) -> None:
    mine = ("--dialect-file", file, "--dialect", "bare", "--token", "secretpa")
    dialect, limiter = own(file, "bare"), ErrorRateLimiter(150)
    values = {Command.CONNECTIONS: 9, Command.ACTIVE_CONNECTIONS: 2}
    async with serve("127.0.0.1", 0, TOKEN, values.__getitem__, dialect, limiter) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        assert await cli("get", target, "--json", *mine) == 0
        assert (cli.json["connections_total"], cli.json["active_connections"]) == (9, 2)
        assert await cli("check", target, *mine) == 0
    assert await cli("decode", "0000 0000000000000009", *mine[:4]) == 0


async def test_the_dialect_option_overrides_the_environment(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPSTATUS_DIALECT", "group-11")
    async with serve("127.0.0.1", 0, TOKEN, lambda command: 1, DIALECTS["group-11"]) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        assert await cli("get", target, "--token", "secretpa") == 0
        arguments = ("get", target, "--token", "secretpa", "--timeout", "100ms")
        assert await cli(*arguments, "--dialect", V0.name) == 3
    monkeypatch.setenv("SMTPSTATUS_DIALECT", "")
    assert await cli("get", "127.0.0.1:1", "--token", "secretpa", "--timeout", "50ms") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the file"),
        ("dialects: {}", "unknown dialect 'mine'"),
        ("dialects: {mine: {}}", "dialects.mine: missing key signature"),
        ("[", "invalid YAML"),
    ],
)
async def test_an_invalid_dialect_file_is_one_line_and_exit_status_2(
    cli: Cli, tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "dialects.yml"
    if text is not None:
        path.write_text(text)

    arguments = ("--dialect-file", str(path), "--dialect", "mine", "--token", "secretpa")
    assert await cli("get", "h", *arguments) == 2
    assert message in cli.err
    assert len(cli.err.splitlines()) == 1


async def run(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        COMMANDS / "python",
        *("-X", "importtime", "-m", "protocol", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_pyyaml_is_imported_only_for_a_dialect_file(file: str) -> None:
    _, without = await run("decode", "cffe")
    _, with_file = await run("decode", "cffe", "--dialect-file", file)

    assert " yaml" not in without
    assert " yaml" in with_file


@pytest.mark.parametrize("subcommand", ["get", "decode", "identify", "check"])
async def test_only_the_chosen_subcommand_is_imported(subcommand: str) -> None:
    argument = "zz" if subcommand == "decode" else ":0"
    _, errors = await run(subcommand, argument)

    imported = {line.split("|")[-1].strip() for line in errors.splitlines() if "|" in line}
    others = {"get", "watch", "transforms", "check", "identify", "decode"} - {subcommand}
    assert "protocol.cli.options" in imported
    assert not imported & {f"protocol.cli.{other}" for other in others}


async def test_the_junit_file_is_opened_before_anything_is_sent(cli: Cli, tmp_path: Path) -> None:
    received: list[bytes] = []

    def listen(datagram: bytes) -> list[bytes]:
        received.append(datagram)
        return []

    missing = str(tmp_path / "missing" / "junit.xml")
    async with udp_server(listen) as port:
        target = f"127.0.0.1:{port}"
        arguments = ("check", target, "--token", "secretpa", "--timeout", "50ms", "--junit")
        assert await cli(*arguments, missing) == 2
        assert (received, "missing" in cli.err) == ([], True)
        assert await cli(*arguments, str(tmp_path / "junit.xml"), "--json") == 3

    report = json.loads(cli.out)
    assert (report["passed"], report["cases"]) == (False, [])
    assert "no answer" in report["error"]
    assert 'errors="1"' in (tmp_path / "junit.xml").read_text()
