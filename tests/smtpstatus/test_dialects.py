import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from exporter.configuration import config
from protocol.dialect import Dialect, Operation
from protocol.dialects import DIALECTS
from protocol.vocabulary import Command, Status
from smtpstatus.dialects import read_file, summary
from smtpstatus.errors import ConfigError
from tests.exporter.running import TOKEN, Start, running_mail_server

MINE = """\
dialects:
  my-server:
    signature: feca
    byte_order: little
    default_port: 7374
    request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13}
    response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}
    commands:
      connections: {code: 0}
      active_connections: {code: 1}
      sent_bytes: {code: 2}
      received_bytes: {code: 3}
      transferred_bytes: {code: 4}
    statuses: {done: 0, authentication_failed: 1, invalid_command: 2, invalid_version: 3, invalid_request: 4,
      server_failure: 5}
"""


def read(directory: Path, text: str) -> Dialect:
    path = directory / "config.yml"
    target = "targets: [{name: a, address: h, token: secretpa, dialect: my-server}]\n"
    path.write_text(text + target)
    return config.load([path], {}).targets[0].dialect


def test_a_built_in_dialect_can_be_written_as_a_table(tmp_path: Path) -> None:
    mine, known = read(tmp_path, MINE), DIALECTS["group-11"]

    for field in fields(Dialect):
        if field.name != "name":
            assert getattr(mine, field.name) == getattr(known, field.name), field.name


def test_every_property_of_a_dialect_can_be_written(tmp_path: Path) -> None:
    text = MINE.replace(
        "    byte_order: little\n",
        """    byte_order: big
    version: 3
    on: 255
    off: [0, 0xf0]
    identifier_echo: never
    fixed_identifier: 77
    zeroed_errors: true
    silent_errors: true
""",
    ).replace(
        "connections: {code: 0}\n",
        """connections: {code: 0, value: [8, 4], signed: true}
      transforms: {code: 7, value: 6}
      enable_transforms: {code: 8, value: none}
""",
        1,
    )
    mine = read(tmp_path, text)

    assert (mine.version, mine.on, mine.off) == (3, 255, (0, 0xF0))
    assert (mine.identifier_echo, mine.fixed_identifier) == ("never", 77)
    assert mine.zeroed_errors
    assert mine.silent_errors
    (offset, size) = (8, 4)
    connections = mine.operations[Command.CONNECTIONS]
    assert connections.value is not None
    assert (connections.value.offset, connections.value.size, connections.signed) == (
        offset,
        size,
        True,
    )
    assert mine.operations[Command.TRANSFORMS].flag
    assert mine.operations[Command.ENABLE_TRANSFORMS] == Operation(8, None, flag=True)
    assert mine.statuses[2] is Status.INVALID_COMMAND


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("signature: feca", "signature: fecax", ":3: dialects.my-server.signature: 'fecax' is not pairs of hex digits"),
        ("signature: feca", "signature:", ":3: dialects.my-server.signature: expected pairs of hex digits"),
        ("signature: feca", "signature: [fe, ca]", ":3: dialects.my-server.signature: expected pairs of hex digits"),
        ("signature: feca", "signature: fecafecafecafecafe", "signature: 9 bytes: expected at most 8"),
        ("request: {length: 14", "request: {length: 13", ":6: dialects.my-server.request.command: byte 13 outside the"),
        ("token: [5, 8]", "token: [4, 8]", "request.token: overlap of bytes 4 to 11 with the identifier, bytes 3 to 4"),
        ("token: [5, 8]", "token: [5]", "dialects.my-server.request.token: expected an offset and a size"),
        ("byte_order: little", "byte_order: middle", "byte_order: 'middle' is not one of big, little"),
        ("{code: 4}", "{code: 3}", ":13: dialects.my-server.commands.transferred_bytes.code: duplicate code 3"),
        ("{code: 4}", "{code: 256}", "transferred_bytes.code: expected a whole number from 0 to 255"),
        ("{code: 4}", "{cod: 4}", "transferred_bytes: unknown key: did you mean code?"),
        ("{code: 2}", "{code: 2, value: [7, 8]}", ":11: dialects.my-server.commands.sent_bytes.value: bytes 7 to 14"),
        ("{code: 2}", "{code: 2, value: none}", ":11: dialects.my-server.commands.sent_bytes.value: none, for a"),
        ("sent_bytes", "send_bytes", "commands: unknown key: did you mean sent_bytes?"),
        ("done: 0, ", "", ":14: dialects.my-server.statuses: missing done"),
        ("done: 0, ", "done: 1, ", "authentication_failed: duplicate code 1: done has it"),
        ("my-server:\n", "v0:\n", "dialects.v0: duplicate dialect v0"),
        ("    signature: feca\n", "", "dialects.my-server: missing key signature"),
        ("default_port: 7374", "on: 1", ":5: dialects.my-server.on: 1 is the default of off: add off"),
        ("default_port: 7374", "off: 0", ":5: dialects.my-server.off: 0 means on and off"),
        ("default_port: 7374", "fixed_identifier: 7", ":5: dialects.my-server.fixed_identifier: needs identifier_echo"),
        (
            "default_port: 7374",
            "identifier_echo: never\n    fixed_identifier: 70000",
            ":6: dialects.my-server.fixed_identifier: 70000 does not fit 2 bytes: expected 0 to 65535",
        ),
        ("default_port: 7374", "identifier_echo: maybe", "identifier_echo: 'maybe' is not one of always, good, never"),
        (
            "connections: {code: 0}",
            "transforms: {code: 0, signed: true}",
            "commands.transforms.signed: a flag has no sign: delete this key",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line_key_and_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, MINE.replace(old, new, 1))

    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_mistake_in_any_value_is_one_line_with_a_place(tmp_path: Path) -> None:
    """Any value in any place yields a dialect or a ConfigError."""
    root = yaml.safe_load(MINE)
    table = root["dialects"]["my-server"]
    odd: list[object] = [None, "none", -1, 70000, [3, 0], {}]

    def places(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        yield path
        if isinstance(node, dict):
            for key, value in node.items():
                yield from places(value, (*path, key))

    optional = (
        "version",
        "on",
        "off",
        "identifier_echo",
        "fixed_identifier",
        "zeroed_errors",
        "silent_errors",
    )
    for path in [*places(table), *((key,) for key in optional)]:
        for value in odd:
            changed = deepcopy(root)
            node = changed["dialects"]
            for key in ("my-server", *path)[:-1]:
                node = node[key]
            node[("my-server", *path)[-1]] = value
            (tmp_path / "dialects.yml").write_text(yaml.safe_dump(changed))
            text = error_of(tmp_path / "dialects.yml")
            assert re.fullmatch(r"\S+dialects.yml:\d+: dialects\.my-server.*|", text)


def error_of(path: Path) -> str:
    """Error message of a dialect file, or an empty string."""
    try:
        read_file(path)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("identifiers", "echo"),
    [
        (("none", "none"), ""),
        (("[3, 2]", "none"), ""),
        (("none", "[3, 2]"), "identifier_echo: never"),
    ],
)
def test_a_dialect_may_lack_signature_and_identifiers(
    tmp_path: Path, identifiers: tuple[str, str], echo: str
) -> None:
    text = MINE.replace("signature: feca", f"signature: ''\n    {echo}")
    for place, identifier in zip(
        ("14, identifier: [3, 2], token", "14, identifier: [3, 2], status"),
        identifiers,
        strict=True,
    ):
        text = text.replace(place, place.replace("[3, 2]", identifier))
    mine = read(tmp_path, text)

    assert (mine.signature, mine.identifier_echo) == (b"", "never")
    assert {mine.request_identifier.size, mine.response_identifier.size} == {
        0 if i == "none" else 2 for i in identifiers
    }


def test_a_file_with_other_keys_is_accepted_and_one_without_dialects_is_rejected(
    tmp_path: Path,
) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(MINE + "targets: []\nwhatever: 1\n")
    assert list(read_file(path)) == ["my-server"]

    for text in ("", "targets: []\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="missing key dialects"):
            read_file(path)


def test_a_summary_lists_what_a_dialect_reads_and_writes() -> None:
    assert summary(DIALECTS["group-4"]) == (
        "reads connections (00), active_connections (01), sent_bytes (02), mails (03), transforms (04);"
        " writes enable_transforms (05), disable_transforms (06)"
    )
    assert summary(DIALECTS["group-11"]).endswith("; writes nothing")


async def test_a_server_of_a_user_defined_dialect_is_read_end_to_end(
    start: Start, tmp_path: Path
) -> None:
    async with running_mail_server(read(tmp_path, MINE)) as server:
        exporter = await start(
            MINE + f"targets: [{{name: a, address: '{server.address}', token: {TOKEN},"
            " dialect: my-server}]"
        )
        (state,) = (await exporter.http.get("/api/v1/targets")).json()["targets"]

    assert (state["connections_total"], state["received_bytes_total"]) == (5, 50234)
    assert (state["dialect"], state["can_switch"]) == ("my-server", False)
