"""The `smtpstatus` command against real servers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.message import Value
from protocol.ratelimit import ErrorRateLimiter
from protocol.server import Endpoint, respond, serve
from protocol.token import Token
from protocol.vocabulary import WRITES, Command
from smtpstatus.version import __version__
from tests.protocol.cli import Cli
from tests.support.processes import COMMANDS
from tests.support.udp import udp_server

TOKEN = Token(b"secretpa")
VALUES: dict[Command, Value] = {
    Command.CONNECTIONS: 1234,
    Command.ACTIVE_CONNECTIONS: 5,
    Command.TRANSFERRED_BYTES: 51234,
    Command.SENT_BYTES: 51234,
}


class Application:
    def __init__(self) -> None:
        self.enabled = True
        self.values = dict(VALUES)

    def answer(self, command: Command) -> Value:
        if command in WRITES:
            self.enabled = command is Command.ENABLE_TRANSFORMS
        return self.values.get(command, self.enabled)


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application) -> AsyncIterator[Endpoint]:
    async with serve(
        "127.0.0.1", 0, TOKEN, application.answer, limiter=ErrorRateLimiter(150)
    ) as endpoint:
        yield endpoint


async def test_get_prints_a_table(server: Endpoint, cli: Cli) -> None:
    assert await cli("get", f"127.0.0.1:{server.port}", "--token", "secretpa") == 0

    rows = [line.split() for line in cli.out.splitlines()[2:]]
    assert rows == [
        ["total", "connections", "1,234"],
        ["active", "connections", "5"],
        ["transferred", "bytes", "51,234", "(51.2", "kB)"],
        ["transforms", "on"],
    ]
    assert cli.err == ""


async def test_get_in_json_has_the_keys_of_the_exporters_api(server: Endpoint, cli: Cli) -> None:
    target = f"127.0.0.1:{server.port}"

    assert await cli("get", target, "--json", "--token", "secretpa") == 0

    found = cli.json
    assert 0 < found.pop("round_trip_seconds") < 2
    assert found == {
        "target": target,
        "up": True,
        "connections_total": 1234,
        "active_connections": 5,
        "transferred_bytes_total": 51234,
        "transforms_enabled": True,
    }


async def test_a_server_that_rejects_the_request_is_exit_status_1(
    server: Endpoint, cli: Cli
) -> None:
    target = f"127.0.0.1:{server.port}"

    assert await cli("get", target, "--json", "--token", "wrongone") == 1

    assert cli.json == {
        "target": target,
        "up": False,
        "connections_total": None,
        "active_connections": None,
        "transferred_bytes_total": None,
        "transforms_enabled": None,
        "round_trip_seconds": cli.json["round_trip_seconds"],
        "error": "server returned: authentication failed",
    }
    assert cli.err == f"smtpstatus: {target}: server returned: authentication failed\n"


async def test_a_silent_server_is_exit_status_3_after_the_timeout(cli: Cli) -> None:
    async with udp_server(lambda datagram: []) as port:
        status = await cli("get", f"127.0.0.1:{port}", "--token", "secretpa", "--timeout", "50ms")

    assert status == 3
    assert "no answer within" in cli.err
    assert cli.out == ""


async def test_a_closed_port_is_exit_status_3_immediately(cli: Cli) -> None:
    async with udp_server(lambda datagram: []) as port:
        pass
    async with asyncio.timeout(20):
        status = await cli("get", f"127.0.0.1:{port}", "--token", "secretpa", "--timeout", "1h")

    assert (status, "refused" in cli.err) == (3, True)


async def test_the_token_comes_from_a_file_or_the_environment(
    server: Endpoint, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"127.0.0.1:{server.port}"
    path = tmp_path / "token"
    path.write_text("secretpa\n")

    assert await cli("get", target, "--token-file", str(path)) == 0
    monkeypatch.setenv("SMTPSTATUS_TOKEN", "hex:7365637265747061")
    assert await cli("get", target) == 0
    assert (
        await cli("--token", "wrongone", "get", target) == 1
    )  # the option overrides the environment


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["get"], "HOST[:PORT]"),
        (["git", "host"], "invalid choice"),
        (["get", "host", "--timeout", "soon"], "invalid duration 'soon'"),
        (["get", "host", "--timeout", "0s"], "more than 0"),
        (["get", "host"], "no token: pass --token-file or --token, or set SMTPSTATUS_TOKEN"),
        (["get", "host", "--token", "short"], "token has 5 bytes"),
        (["get", "host:99999", "--token", "secretpa"], "invalid address 'host:99999'"),
        (["get", "host", "--token", "secretpa", "--token-file", "f"], "exclude each other"),
        (["get", "host", "--token-file", "/no/such"], "cannot read token file /no/such"),
        (["get", "host", "--token", "secretpa", "--dialect", "v9"], "v0, group-4, group-6"),
        (["transforms", "host", "up", "--token", "secretpa"], "invalid choice: 'up'"),
        (
            ["transforms", "host", "on", "--token", "secretpa", "--dialect", "group-11"],
            "group-11 has no transforms",
        ),
        (["watch", "host", "--count", "0"], "invalid count '0'"),
        (["identify", "host:x"], "invalid address 'host:x'"),
        (["decode", "xyz"], "not hexadecimal"),
        (["decode", "cff"], "not hexadecimal"),
    ],
)
async def test_wrong_usage_is_exit_status_2_with_the_remedy(
    arguments: list[str], text: str, cli: Cli
) -> None:
    assert await cli(*arguments) == 2

    assert text in cli.err
    assert "secretpa" not in cli.err
    assert "Traceback" not in cli.err


async def test_transforms_are_read_and_switched(
    server: Endpoint, application: Application, cli: Cli
) -> None:
    target = f"127.0.0.1:{server.port}"

    assert await cli("transforms", target, "--token", "secretpa") == 0
    assert cli.out == "transforms on\n"
    assert await cli("transforms", target, "off", "--token", "secretpa") == 0
    assert (cli.out, application.enabled) == ("transforms off\n", False)
    assert await cli("transforms", target, "on", "--json", "--token", "secretpa") == 0
    assert (cli.json, application.enabled) == ({"target": target, "enabled": True}, True)


@pytest.mark.parametrize(
    "answer",
    [
        lambda datagram: [datagram[:5] + b"\x00" + (1234).to_bytes(8)],  # a number, not a flag
        lambda datagram: [datagram[:5] + b"\x03" + bytes(8)],
        lambda datagram: [],
    ],
)
async def test_nothing_is_written_to_a_server_that_does_not_answer_the_read(
    answer: Callable[[bytes], list[bytes]], cli: Cli
) -> None:
    received: list[bytes] = []

    def listen(datagram: bytes) -> list[bytes]:
        received.append(datagram)
        return answer(datagram)

    async with udp_server(listen) as port:
        target = f"127.0.0.1:{port}"
        status = await cli(
            "transforms", target, "off", "--token", "secretpa", "--timeout", "200ms"
        )

    assert status in (1, 3)
    assert {datagram[13] for datagram in received} == {V0.operations[Command.TRANSFORMS].code}


async def test_a_switch_that_is_not_confirmed_is_exit_status_1(cli: Cli) -> None:
    async with serve("127.0.0.1", 0, TOKEN, lambda command: True) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        status = await cli("transforms", target, "off", "--json", "--token", "secretpa")

    assert (status, cli.json["enabled"]) == (1, None)
    assert "read back as on" in cli.err


async def test_a_target_without_a_port_is_queried_on_the_dialects_default_port(cli: Cli) -> None:
    token = ("--token", "secretpa", "--timeout", "20ms", "--json")
    await cli("get", "127.0.0.1", *token)
    assert cli.json["target"] == "127.0.0.1"


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
async def test_every_dialect_can_be_queried_and_identified(dialect: Dialect, cli: Cli) -> None:
    asked: list[Command] = []

    def answer(command: Command) -> Value:
        asked.append(command)
        return VALUES.get(command, 0)

    token = Token(TOKEN.octets[: dialect.token_length])
    async with serve("127.0.0.1", 0, token, answer, dialect) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        text = token.octets.decode()
        assert await cli("get", target, "--json", "--token", text, "--dialect", dialect.name) == 0
        counted = "sent_bytes_total" if dialect.name == "group-4" else "transferred_bytes_total"
        assert cli.json[counted] == 51234
        assert ("transforms_enabled" in cli.json) is (Command.TRANSFORMS in dialect.reads)
        asked.clear()
        assert await cli("identify", target, "--timeout", "300ms") == 0
        assert cli.out == f"{target} speaks {dialect.name}\n"
        assert asked == []


async def test_identify_distinguishes_silence_from_an_unknown_dialect(cli: Cli) -> None:
    async with udp_server(lambda datagram: [b"who are you?"]) as port:
        status = await cli("identify", f"127.0.0.1:{port}", "--json", "--timeout", "300ms")
        assert (status, cli.json["dialects"], len(cli.json["probes"])) == (1, [], len(DIALECTS))
        status = await cli("identify", f"127.0.0.1:{port}", "--timeout", "300ms")
        assert status == 1
        assert cli.err.splitlines() == [
            f"127.0.0.1:{port}: responds in no known dialect",
            "note: a server that does not answer a wrong token is found only with --token",
        ]
    async with udp_server(lambda datagram: []) as port:
        assert await cli("identify", f"127.0.0.1:{port}", "--timeout", "100ms") == 3
        assert "no answer within" in cli.err
    assert await cli("identify", f"127.0.0.1:{port}") == 3
    assert cli.err.startswith(f"127.0.0.1:{port}: Connection refused\n")


async def test_identify_sends_no_write_in_any_dialect_even_if_the_signature_is_ignored(
    cli: Cli,
) -> None:
    received: list[bytes] = []

    def listen(datagram: bytes) -> list[bytes]:
        received.append(datagram)
        return []

    async with udp_server(listen) as port:
        await cli("identify", f"127.0.0.1:{port}", "--timeout", "200ms")

    assert {datagram[:2] for datagram in received} == {d.signature for d in DIALECTS.values()}
    for dialect in DIALECTS.values():
        writes = {dialect.operations[c].code for c in WRITES & dialect.operations.keys()}
        for datagram in received:
            assert not writes & set(datagram[dialect.command.span])


async def test_watch_prints_a_line_for_each_reading(server: Endpoint, cli: Cli) -> None:
    target = f"127.0.0.1:{server.port}"
    arguments = ("watch", target, "--interval", "20ms", "--timeout", "5s", "--token", "secretpa")
    assert await cli(*arguments, "--count", "2") == 0
    lines = cli.out.splitlines()
    assert len(lines) == 2
    assert "total connections 1,234  " in lines[0]
    assert "total connections 1,234 0/s" in lines[1]
    assert await cli(*arguments, "--count", "2", "--json") == 0
    samples = [json.loads(line) for line in cli.out.splitlines()]
    assert [sample["connections_total"] for sample in samples] == [1234, 1234]
    assert samples[1]["per_second"] == {"connections_total": 0.0, "transferred_bytes_total": 0.0}


async def test_check_reports_what_was_sent_expected_and_received_without_the_token(
    cli: Cli, tmp_path: Path
) -> None:
    answer = bytes.fromhex("cffe00 1234 00 0000000000000003")
    target_junit = tmp_path / "junit.xml"
    async with udp_server(lambda datagram: [datagram[:5] + answer[5:]]) as port:
        target = f"127.0.0.1:{port}"
        arguments = ("check", target, "--token", "secretpa", "--timeout", "1s")
        assert await cli(*arguments, "--junit", str(target_junit)) == 1
        text = cli.out
        assert await cli(*arguments, "--json") == 1

    assert "sent      cffe001234" + "*" * 16 in text
    assert "expected  cffe00....02................  (invalid version)" in text
    assert "received  cffe001234000000000000000003" in text
    failed = [case for case in cli.json["cases"] if case["verdict"] == "failed"]
    assert cli.json["passed"] is False
    assert "a wrong token is rejected with status 01" in {case["name"] for case in failed}
    failures = ET.parse(target_junit).getroot().findall("testcase/failure")
    assert {failure.attrib["message"] for failure in failures} == {"failed"}
    for report in (text, cli.out, target_junit.read_text()):
        assert b"secretpa".hex() not in report
        assert "secretpa" not in report


async def test_check_needs_an_answer_and_the_right_token(server: Endpoint, cli: Cli) -> None:
    async with udp_server(lambda datagram: []) as port:
        target = f"127.0.0.1:{port}"
        assert await cli("check", target, "--token", "secretpa", "--timeout", "50ms") == 3
    assert await cli("check", f"127.0.0.1:{server.port}", "--token", "wrongone") == 1
    assert "authentication failed" in cli.err


def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(COMMANDS / "smtpstatus"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


async def test_check_passes_the_reference_server_and_writes_junit(
    server: Endpoint, application: Application, tmp_path: Path
) -> None:
    junit = tmp_path / "junit.xml"
    process = run(
        *("check", f"127.0.0.1:{server.port}", "--write", "--junit", str(junit)),
        SMTPSTATUS_TOKEN="secretpa",
    )
    out, errors = await asyncio.to_thread(process.communicate)

    assert (process.returncode, errors) == (0, "")
    assert application.enabled is True
    assert "0 failed, 0 no response" in out.splitlines()[-1]
    suite = ET.parse(junit).getroot()
    assert suite.attrib["failures"] == "0"
    assert len(suite.findall("testcase")) == int(suite.attrib["tests"])


async def test_control_c_ends_a_watch_with_status_0_and_no_message(server: Endpoint) -> None:
    process = run(
        "watch", f"127.0.0.1:{server.port}", "--interval", "1s", SMTPSTATUS_TOKEN="secretpa"
    )
    assert process.stdout
    assert "1,234" in await asyncio.to_thread(process.stdout.readline)
    process.send_signal(signal.SIGINT)

    _, errors = await asyncio.to_thread(process.communicate)
    assert (process.returncode, errors) == (0, "")


async def test_control_c_ends_a_query_quietly() -> None:
    asked = asyncio.Event()

    def listen(datagram: bytes) -> list[bytes]:
        asked.set()
        return []

    async with udp_server(listen) as port:
        process = run("get", f"127.0.0.1:{port}", "--timeout", "1m", SMTPSTATUS_TOKEN="secretpa")
        await asked.wait()
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate)

    assert (process.returncode, errors) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_check_restores_the_switch(
    number: signal.Signals, application: Application
) -> None:
    off = asyncio.Event()

    def answer(datagram: bytes) -> list[bytes]:
        if datagram[13:] == b"\x03" and not application.enabled:
            off.set()
            return []  # so that the check is here when the signal comes
        response = respond(datagram, TOKEN, application.answer)
        return [response.encode()] if response else []

    async with udp_server(answer) as port:
        process = run("check", f"127.0.0.1:{port}", "--write", SMTPSTATUS_TOKEN="secretpa")
        await asyncio.wait_for(off.wait(), 20)
        process.send_signal(number)
        _, errors = await asyncio.to_thread(process.communicate)

    assert (process.returncode, errors) == (130, "")
    assert application.enabled


async def test_a_closed_pipe_is_not_reported_as_an_error(server: Endpoint) -> None:
    process = run(
        "watch", f"127.0.0.1:{server.port}", "--interval", "20ms", SMTPSTATUS_TOKEN="secretpa"
    )
    assert process.stdout
    await asyncio.to_thread(process.stdout.readline)
    process.stdout.close()

    assert process.stderr
    assert await asyncio.to_thread(process.stderr.read) == ""
    assert await asyncio.to_thread(process.wait) == 141
    process.stderr.close()


def test_the_version_is_that_of_the_package() -> None:
    printed = subprocess.run(
        [COMMANDS / "smtpstatus", "--version"], capture_output=True, text=True
    )

    assert printed.stdout == f"smtpstatus {__version__}\n"


@pytest.mark.parametrize("arguments", [["--version"], ["decode", "cffe00"]])
def test_subcommands_without_a_network_start_without_asyncio(arguments: list[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "protocol", *arguments],
        capture_output=True,
        text=True,
    )

    assert "argparse" in found.stderr
    assert "asyncio" not in found.stderr
    assert "ssl" not in found.stderr


def everything(terminal: int) -> str:
    """Returns what was written to a terminal whose other side is closed."""
    pieces = []
    with suppress(OSError):  # EIO is the end of the output of a closed terminal
        while piece := os.read(terminal, 1 << 16):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces).decode()


async def test_charts_on_a_terminal_are_redrawn_in_place(server: Endpoint) -> None:
    ours, theirs = os.openpty()
    arguments = ["watch", f"127.0.0.1:{server.port}", "--interval", "1s", "--count", "3"]
    process = await asyncio.create_subprocess_exec(
        COMMANDS / "smtpstatus",
        *arguments,
        stdout=theirs,
        env={**os.environ, "SMTPSTATUS_TOKEN": "secretpa", "TERM": "xterm"},
    )
    os.close(theirs)
    status = await process.wait()
    screen = everything(ours)

    assert status == 0
    assert screen.count("\x1b[5F") == 2  # up over the five lines before, twice
    assert screen.count(" 1,234") == 3
    assert "\x1b[?" not in screen  # no mode is set, so none is left behind


async def test_waiting_for_the_error_limit_is_shown_on_a_terminal(
    application: Application,
) -> None:
    ours, theirs = os.openpty()
    async with serve(
        "127.0.0.1", 0, TOKEN, application.answer, limiter=ErrorRateLimiter(20, 50)
    ) as endpoint:
        process = await asyncio.create_subprocess_exec(
            COMMANDS / "smtpstatus",
            *("check", f"127.0.0.1:{endpoint.port}", "--json", "--token", "secretpa"),
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        out, _ = await process.communicate()
    output = everything(ours)

    assert json.loads(out)["passed"] is True
    assert "waiting for the server's error rate limit: " in output
    assert output.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("where", "output"),
    {
        ">&-": "smtpstatus: stdout is closed: redirect it, for example to /dev/null\n",
        ">/dev/full": "smtpstatus: [Errno 28] No space left on device\n",
    }.items(),
)
def test_a_stdout_that_cannot_be_written_is_one_line_and_exit_status_2(
    where: str, output: str
) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'exec env -u PYTHONUNBUFFERED "$0" decode cffe {where}', str(COMMANDS / "smtpstatus")],
        stderr=subprocess.PIPE, text=True, timeout=10, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (2, output)
