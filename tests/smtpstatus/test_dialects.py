from dataclasses import fields
from pathlib import Path

import pytest

from exporter.configuration import config
from protocol.dialect import Dialect, Operation
from protocol.dialects import DIALECTS
from protocol.vocabulary import Command, Status
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


def test_a_dialect_can_be_written_that_is_one_of_the_known(tmp_path: Path) -> None:
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
    ("old", "new", "told"),
    [
        ("signature: feca", "signature: fecax", "dialects.my-server.signature: "),
        ("signature: feca", "signature: ''", "signature: it is '': expected 1 to 8 bytes"),
        ("request: {length: 14", "request: {length: 13", "request.command: it is 'bytes 13 to 13': expected 0"),
        ("token: [5, 8]", "token: [4, 8]", "request.token: it is 'offset 4': expected 5 or more"),
        ("token: [5, 8]", "token: [5]", "dialects.my-server.request.token: an offset and a size"),
        ("byte_order: little", "byte_order: middle", "byte_order: 'middle' is not one of big, little"),
        ("{code: 4}", "{code: 3}", "commands: transferred_bytes.code is 3: expected a code of its own"),
        ("{code: 4}", "{code: 256}", "transferred_bytes.code: expected a whole number from 0 to 255"),
        ("{code: 4}", "{cod: 4}", "transferred_bytes: unknown key: did you mean code?"),
        ("sent_bytes", "send_bytes", "commands: unknown key: did you mean sent_bytes?"),
        ("done: 0, ", "", "one that means done"),
        ("done: 0, ", "done: 1, ", "1 is taken by done"),
        ("my-server:\n", "v0:\n", "dialects.v0: duplicate dialect v0"),
        ("    signature: feca\n", "", "dialects.my-server: missing key signature"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_the_field_the_value_and_what_would_fit(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, MINE.replace(old, new, 1))

    assert told in str(error.value)
    assert "\n" not in str(error.value)


async def test_a_server_of_a_dialect_of_ones_own_is_read_end_to_end(
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
