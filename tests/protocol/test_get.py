"""`smtpstatus get`: several servers, the textfile format, and warnings about a wrong dialect."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.samples import FAMILIES
from protocol.cli.textfile import DURATION, UP, as_prometheus
from protocol.client import Reading
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.errors import NoAnswer
from protocol.message import Value
from protocol.plausibility import doubt
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import DOCUMENTATION, WRITES, Command
from tests.protocol.cli import Cli
from tests.support.real import require
from tests.support.udp import udp_server

TOKEN = Token(b"secretpa")
WITH_TOKEN = ("--token", "secretpa", "--timeout", "200ms")


def counting(connections: int) -> Callable[[Command], Value]:
    values = {
        Command.CONNECTIONS: connections,
        Command.ACTIVE_CONNECTIONS: 1,
        Command.TRANSFERRED_BYTES: 51234,
    }
    return lambda command: values.get(command, 1)


async def test_several_servers_are_printed_in_the_order_given(cli: Cli) -> None:
    async with (
        serve("127.0.0.1", 0, TOKEN, counting(11)) as one,
        serve("127.0.0.1", 0, TOKEN, counting(22)) as two,
    ):
        targets = [f"127.0.0.1:{endpoint.port}" for endpoint in (two, one)]
        assert await cli("get", *targets, *targets, *WITH_TOKEN) == 0
        assert re.findall(r"total connections +(\d+)", cli.out) == ["22", "11"]
        assert re.findall(r"\n\n(.*) is up", cli.out) == targets[1:]
        assert await cli("get", *targets, "--json", *WITH_TOKEN) == 0

    assert re.findall(r'"connections_total": (\d+)', cli.out) == ["22", "11"]
    assert len(cli.out.splitlines()) == 2


async def test_the_exit_status_is_the_highest_of_all_servers(cli: Cli) -> None:
    async with (
        serve("127.0.0.1", 0, TOKEN, counting(11)) as good,
        serve("127.0.0.1", 0, Token(b"another1"), counting(11)) as refusing,
        udp_server(lambda datagram: []) as silent,
    ):
        targets = [f"127.0.0.1:{port}" for port in (good.port, refusing.port, silent)]
        assert await cli("get", *targets[1::-1], *WITH_TOKEN) == 1
        assert await cli("get", *targets[::-1], "--json", *WITH_TOKEN) == 3
        assert await cli("get", *targets, "--format", "prometheus", *WITH_TOKEN) == 3

    up = {sample.labels["target"]: sample.value for sample in samples(cli.out, "smtpstatus_up")}
    assert up == dict(zip(targets, (1.0, 0.0, 0.0), strict=True))
    assert len(samples(cli.out, "smtpstatus_connections_total")) == 1
    assert f"{targets[1]}: server returned: authentication failed" in cli.err


def samples(text: str, name: str) -> list[Sample]:
    return [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]


async def test_servers_are_read_from_a_file_or_standard_input(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "servers"
    async with serve("127.0.0.1", 0, TOKEN, counting(11)) as endpoint:
        text = f"# all of them\n\n  127.0.0.1:{endpoint.port}  # the first\n"
        path.write_text(text)
        assert await cli("get", "-f", str(path), *WITH_TOKEN) == 0
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert await cli("get", "--file", "-", *WITH_TOKEN) == 0

    assert "total connections" in cli.out


@pytest.mark.parametrize("text", [b"", b"# nothing\n", b"\xff\n", b"a b\n", b"a:99999\n"])
async def test_a_file_without_servers_is_wrong_usage(
    cli: Cli, tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / "servers"
    path.write_bytes(text)

    assert await cli("get", "-f", str(path), *WITH_TOKEN) == 2
    assert cli.err.startswith("smtpstatus: ")
    assert len(cli.err.splitlines()) == 1


async def test_output_formats_are_mutually_exclusive(cli: Cli) -> None:
    assert await cli("get", "h", "--json", "--format", "prometheus", *WITH_TOKEN) == 2
    assert "exclude each other" in cli.err


def test_names_types_and_help_texts_match_the_exporter() -> None:
    reading = Reading(dict.fromkeys(DOCUMENTATION, 1))
    families = {
        family.name: family
        for family in text_string_to_metric_families(as_prometheus({"a": reading}))
    }
    exporters = {family.name.removesuffix("_total"): family for family in FAMILIES}
    for name, family in families.items():
        assert family.documentation == exporters[name].documentation
        assert family.type == exporters[name].kind
    assert {command for command in Command if command not in WRITES} == set(DOCUMENTATION)
    assert {UP[0], DURATION[0]} < families.keys()


def test_the_textfile_escapes_labels_and_wraps_counters_as_the_exporter() -> None:
    name = 'a"b\\c\nd'
    text = as_prometheus({name: Reading({Command.CONNECTIONS: 2**53 + 5})})

    (sample,) = samples(text, "smtpstatus_connections_total")
    assert (sample.labels, sample.value) == ({"target": name}, 5)


def test_promtool_accepts_the_textfile() -> None:
    text = as_prometheus(
        {"a": Reading(dict.fromkeys(DOCUMENTATION, 1)), "b": Reading(error=NoAnswer(1, 3))}
    )
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"], input=text, capture_output=True, text=True
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_server_that_is_down_has_no_counters_in_the_textfile() -> None:
    text = as_prometheus({"a": Reading(error=NoAnswer(1, 3))})

    assert "smtpstatus_connections_total" not in text
    assert 'smtpstatus_up{target="a"} 0' in text


def read_as(connections: int, active: int, transferred: int, dialect: Dialect = V0) -> str | None:
    values: dict[Command, Value | None] = {
        Command.CONNECTIONS: connections,
        Command.ACTIVE_CONNECTIONS: active,
        Command.TRANSFERRED_BYTES: transferred,
        Command.TRANSFORMS: True,
    }
    return doubt({c: v for c, v in values.items() if c in dialect.operations}, dialect)


@pytest.mark.parametrize(
    ("numbers", "cause"),
    [
        ((3 << 32, 1 << 32, 385 << 32), "narrower than the dialect's 8 bytes"),
        ((3 << 56, 0, 385 << 48), "the byte order of the dialect is probably wrong"),
        ((3 << 32, 0, 0), "narrower"),
        ((3, 5, 100), "5 active connections of 3 in total"),
    ],
)
def test_implausible_numbers_of_another_dialect_are_warned_about_with_the_cause(
    numbers: tuple[int, int, int], cause: str
) -> None:
    assert cause in str(read_as(*numbers))


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0), (3, 1, 0), (1 << 16, 0, 5), (3, 3, 1 << 40), (65536, 1, 65536)]
)
def test_plausible_numbers_cause_no_warning(numbers: tuple[int, int, int]) -> None:
    assert read_as(*numbers) is None


def test_counters_that_change_by_multiples_of_two_to_the_32_cause_a_warning() -> None:
    before: dict[Command, Value | None] = {Command.CONNECTIONS: 5, Command.TRANSFERRED_BYTES: 7}
    after: dict[Command, Value | None] = {
        Command.CONNECTIONS: 5 + (1 << 32),
        Command.TRANSFERRED_BYTES: 7 + (3 << 32),
    }
    assert "multiples of 2^32" in str(doubt(after, V0, before))
    assert doubt({**after, Command.CONNECTIONS: 6}, V0, before) is None
    assert doubt(before, V0, before) is None


async def test_get_warns_about_the_numbers_of_a_wrong_dialect(cli: Cli) -> None:
    dialect = DIALECTS["group-4"]
    narrow = {Command.CONNECTIONS: 3 << 32, Command.ACTIVE_CONNECTIONS: 0}
    async with serve("127.0.0.1", 0, TOKEN, lambda command: narrow.get(command, 0)) as endpoint:
        target = f"127.0.0.1:{endpoint.port}"
        assert await cli("get", target, *WITH_TOKEN) == 0

    assert f"{target}: warning: the low bytes of every number are zero" in cli.err
    assert dialect.name not in cli.err
