from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from protocol.dialect import NOWHERE, Dialect, Field, Operation
from protocol.dialects import DIALECTS, V0
from protocol.errors import DialectError
from protocol.message import Request, Response
from protocol.vocabulary import WRITES, Command, Status

SAMPLES = [
    (
        "group-4",
        b"secretpa",
        Command.CONNECTIONS,
        "fffe00 1234 7365637265747061 00",
        "fffe00 1234 00 00000003 00000000",
        3,
    ),
    (
        "group-4",
        b"secretpa",
        Command.SENT_BYTES,
        "fffe00 1234 7365637265747061 02",
        "fffe00 1234 00 00000181 00000000",
        385,
    ),
    (
        "group-4",
        b"secretpa",
        Command.TRANSFORMS,
        "fffe00 1234 7365637265747061 04",
        "fffe00 1234 00 01 00000000000000",
        False,
    ),
    (
        "group-4",
        b"secretpa",
        Command.DISABLE_TRANSFORMS,
        "fffe00 1234 7365637265747061 06",
        "fffe00 1234 00 0000000000000000",
        None,
    ),
    (
        "group-6",
        b"o",
        Command.CONNECTIONS,
        "feff0000 3412 6f 00",
        "feff00a4 3412 00 00 02000000",
        2,
    ),
    (
        "group-6",
        b"o",
        Command.TRANSFERRED_BYTES,
        "feff0000 3412 6f 02",
        "feff00a4 3412 00 00 fc000000",
        252,
    ),
    (
        "group-6",
        b"o",
        Command.VERBOSE,
        "feff0000 3412 6f 05",
        "feff0000 3412 00 00 01000000",
        True,
    ),
    (
        "group-11",
        b"password",
        Command.CONNECTIONS,
        "feca00 1234 70617373776f7264 00",
        "feca00 1234 00 0100000000000000",
        1,
    ),
    (
        "group-11",
        b"password",
        Command.RECEIVED_BYTES,
        "feca00 1234 70617373776f7264 03",
        "feca00 1234 00 e804000000000000",
        1256,
    ),
]
REFUSALS = [
    ("group-4", "fffe00 1234 01 0000000000000000", Status.AUTHENTICATION_FAILED),
    ("group-4", "fffe00 1234 06 0000000000000000", Status.NO_TRANSFORM_PROGRAM),
    ("group-6", "feff00a4 3412 01 00 deadbeef", Status.AUTHENTICATION_FAILED),
    ("group-11", "feca00 1234 01 0000000000000000", Status.AUTHENTICATION_FAILED),
    ("group-11", "feca00 1234 02 0000000000000000", Status.INVALID_COMMAND),
]  # fmt: skip


@pytest.mark.parametrize(("name", "token", "command", "sent", "received", "value"), SAMPLES)
def test_a_captured_sample_is_encoded_and_decoded(
    name: str, token: bytes, command: Command, sent: str, received: str, value: int | None
) -> None:
    dialect = DIALECTS[name]
    identifier = int.from_bytes(bytes.fromhex(sent)[dialect.request_identifier.span])
    request = Request(identifier, token, dialect.operations[command].code)
    response = Response.decode(bytes.fromhex(received), dialect)

    assert request.encode(dialect) == bytes.fromhex(sent)
    assert (response.identifier, response.status) == (identifier, Status.DONE)
    assert response.value(command, dialect) == value


@pytest.mark.parametrize(("name", "response", "status"), REFUSALS)
def test_a_captured_error_response_is_decoded(name: str, response: str, status: Status) -> None:
    assert Response.decode(bytes.fromhex(response), DIALECTS[name]).status is status


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_no_dialect_reads_with_a_command_that_writes(dialect: Dialect) -> None:
    assert not WRITES & set(dialect.reads)


def test_each_dialect_has_the_default_port_of_its_servers() -> None:
    ports = {name: dialect.default_port for name, dialect in DIALECTS.items()}

    assert ports == {"v0": 7030, "group-4": 2626, "group-6": 7030, "group-11": 7374}


def test_the_statuses_of_version_0_are_those_of_the_protocol() -> None:
    assert V0.statuses == {
        0: Status.DONE,
        1: Status.AUTHENTICATION_FAILED,
        2: Status.INVALID_VERSION,
        3: Status.INVALID_COMMAND,
        4: Status.INVALID_REQUEST,
        5: Status.SERVER_FAILURE,
    }


def test_numbers_of_group_4_have_four_bytes_and_version_0_has_two_words_for_off() -> None:
    numbers = [
        one for one in DIALECTS["group-4"].operations.values() if one.value and not one.flag
    ]

    assert {one.value for one in numbers} == {Field(6, 4)}
    assert V0.off == (1, 1 << 56)


def test_only_dialects_with_all_three_commands_can_switch() -> None:
    assert [name for name, dialect in DIALECTS.items() if dialect.can_switch] == ["v0", "group-4"]


def test_a_fixed_identifier_cannot_be_matched() -> None:
    dialect = replace_in(V0, identifier_echo="never", fixed_identifier=7)
    datagram = Response(1, Status.DONE).encode(dialect)

    assert datagram[3:5] == b"\0\7"
    assert Response.decode(datagram, dialect).identifier is None


def test_errors_may_come_without_an_identifier_or_with_a_header_of_zeros() -> None:
    for change in ({"identifier_echo": "good"}, {"zeroed_errors": True}):
        dialect = replace_in(V0, **change)
        datagram = Response(0x1234, Status.INVALID_COMMAND).encode(dialect)

        assert datagram[3:5] == b"\0\0"
        assert Response.decode(datagram, dialect).identifier is None
        assert Response.decode(Response(9, Status.DONE).encode(dialect), dialect).identifier == 9


def replace_in(dialect: Dialect, **changes: Any) -> Dialect:
    given = {f.name: getattr(dialect, f.name) for f in fields(dialect) if f.init}
    return Dialect(**(given | changes))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"signature": bytes(9)}, "signature: 9 bytes: expected at most 8"),
        ({"version": 256}, "version: 256 is not a byte"),
        ({"byte_order": "middle"}, "byte_order: 'middle': expected big or little"),
        ({"default_port": 0}, "default_port: 0"),
        ({"authentication": Field(5, 9)}, "authentication: 9 bytes: expected 1 to 8"),
        (
            {"authentication": Field(4, 8)},
            "authentication: overlap of bytes 4 to 11 with the identifier.*offset 5 or more",
        ),
        (
            {"command": Field(14, 1)},
            "command: byte 14 outside the request of 14 bytes: expected 0 to 13",
        ),
        ({"command": Field(-1, 1)}, "command: byte -1 outside"),
        (
            {"command": Field(1, 1)},
            "command: overlap of byte 1 with the signature and version, bytes 0 to 2",
        ),
        (
            {"status": Field(5, 2)},
            "result: overlap of bytes 6 to 13 with the status, bytes 5 to 6",
        ),
        ({"request_length": 65}, "request_length: 65"),
        (
            {"request_identifier": Field(3, 1)},
            "response_identifier: 2 bytes, but the request's has 1",
        ),
        ({"request_identifier": Field(3, 9)}, "request_identifier: 9 bytes: expected 1 to 8"),
        ({"request_identifier": NOWHERE}, "identifier_echo: always needs an identifier"),
        (
            {"identifier_echo": "never", "fixed_identifier": 70000},
            "fixed_identifier: 70000 does not fit 2 bytes: .*65535",
        ),
        (
            {"identifier_echo": "never", "fixed_identifier": -1},
            "fixed_identifier: -1 does not fit",
        ),
        ({"off": (0,)}, "off: 0 means on and off"),
        ({"on": 1, "off": (1,)}, "on: 1 is the default of off: add off with another number"),
        (
            {"on": 1 << 64},
            "on: 18446744073709551616 does not fit the value of transforms, bytes 6 to 13",
        ),
        ({"off": ()}, "off: empty"),
        ({"statuses": {1: Status.AUTHENTICATION_FAILED}}, "statuses: missing done"),
        (
            {"statuses": {0: Status.DONE, 300: Status.INVALID_COMMAND}},
            "statuses: a code is not a byte",
        ),
        (
            {"operations": {Command.CONNECTIONS: Operation(256, Field(6, 8))}},
            "commands.connections.code: 256 is not a byte",
        ),
        (
            {"operations": {Command.CONNECTIONS: Operation(0, None)}},
            "commands.connections.value: none, for a command that reads",
        ),
        (
            {"operations": {Command.CONNECTIONS: Operation(0, Field(7, 8))}},
            "value: bytes 7 to 14 outside the result, bytes 6 to 13: widen the result",
        ),
        (
            {
                "result": Field(6, 8),
                "operations": {Command.CONNECTIONS: Operation(0, Field(6, 9))},
            },
            "value: 9 bytes: expected an offset and a size of at most 8 bytes",
        ),
        ({"operations": {}}, "commands: expected at least one command that reads"),
        (
            {
                "operations": {
                    Command.CONNECTIONS: Operation(0, Field(6, 8)),
                    Command.MAILS: Operation(0, Field(6, 8)),
                }
            },
            "commands.mails.code: duplicate code 0: connections has it",
        ),
    ],
)
def test_an_inconsistent_table_is_rejected_with_the_valid_values(
    change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DialectError, match=f"dialect v0: .*{expected}"):
        replace_in(V0, **change)


WRITE_ONLY_STATUS = {
    Command.CONNECTIONS: Operation(0, Field(6, 8)),
    Command.ENABLE_TRANSFORMS: Operation(255, None, flag=True),
}
LIMITS: list[dict[str, Any]] = [
    {"version": 0},
    {"version": 255},
    {"default_port": 1},
    {"default_port": 65535},
    {"request_length": 64, "command": Field(63, 1)},
    {"response_length": 64, "result": Field(6, 58)},
    {"signature": b"", "request_length": 12, "authentication": Field(11, 1)}
    | {"request_identifier": Field(1, 8), "response_identifier": Field(6, 8)}
    | {"command": Field(10, 1), "response_length": 15, "result": Field(14, 1)}
    | {"operations": {Command.CONNECTIONS: Operation(0, Field(14, 1))}, "off": (255,)},
    {"signature": bytes(8), "request_length": 20, "authentication": Field(11, 8)}
    | {"request_identifier": Field(9, 2), "response_identifier": Field(9, 2)}
    | {"command": Field(19, 1), "response_length": 20, "status": Field(11, 1)}
    | {"result": Field(12, 8)}
    | {"operations": {Command.CONNECTIONS: Operation(255, Field(12, 8))}},
    {"identifier_echo": "never", "fixed_identifier": 0},
    {"identifier_echo": "never", "fixed_identifier": 65535},
    {"identifier_echo": "never", "request_identifier": Field(3, 1)},
    {"identifier_echo": "never", "request_identifier": NOWHERE, "response_identifier": NOWHERE},
    {"statuses": {0: Status.DONE, 255: Status.INVALID_COMMAND}},
    {"operations": WRITE_ONLY_STATUS},
    {"on": (1 << 64) - 1},
    {"off": ((1 << 64) - 1,)},
]


@pytest.mark.parametrize("change", LIMITS)
def test_a_table_with_the_least_and_greatest_values_is_accepted(change: dict[str, Any]) -> None:
    assert replace_in(V0, **change).header


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": -1}, "version: -1 is not a byte"),
        ({"default_port": 65536}, "default_port: 65536"),
        ({"authentication": Field(5, 0)}, "authentication: 0 bytes"),
        ({"request_length": 0}, "request_length: 0"),
        ({"response_length": 65}, "response_length: 65"),
        ({"command": Field(13, 0)}, "command: 0 bytes: expected 1 byte"),
        ({"result": Field(6, 9)}, "result: bytes 6 to 14 outside the response of 14 bytes"),
        ({"statuses": {0: Status.DONE, -1: Status.INVALID_COMMAND}}, "statuses: a code is not"),
        ({"statuses": {0: Status.DONE, 256: Status.INVALID_COMMAND}}, "statuses: a code is not"),
        ({"response_identifier": NOWHERE}, "identifier_echo: always needs an identifier"),
        ({"identifier_echo": "never", "fixed_identifier": 65536}, "fixed_identifier: 65536"),
        (
            {"operations": {Command.CONNECTIONS: Operation(-1, Field(6, 8))}},
            "commands.connections.code: -1 is not a byte",
        ),
        (
            {"operations": {Command.CONNECTIONS: Operation(0, Field(6, 0))}},
            "commands.connections.value: 0 bytes",
        ),
        (
            {"operations": {Command.CONNECTIONS: Operation(0, Field(5, 8))}},
            "commands.connections.value: bytes 5 to 12 outside the result, bytes 6 to 13",
        ),
        (
            {"operations": {Command.ENABLE_TRANSFORMS: Operation(0, None, flag=True)}},
            "commands: expected at least one command that reads",
        ),
        ({"off": (1 << 64,)}, "off: 18446744073709551616 does not fit the value of transforms"),
        ({"on": 2, "off": (1, 2)}, "off: 2 means on and off"),
    ],
)
def test_a_table_with_a_value_beyond_the_limits_is_rejected(
    change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DialectError, match=f"dialect v0: .*{expected}"):
        replace_in(V0, **change)


def test_a_dialect_is_immutable() -> None:
    with pytest.raises(AttributeError):
        V0.version = 1  # type: ignore[misc]
    assert replace(Field(1, 2), offset=3) == Field(3, 2)


def test_no_code_compares_the_name_of_a_dialect() -> None:
    """Behaviour depends on a dialect's table, never on its name."""
    for package in ("protocol", "exporter", "reference_server"):
        for path in (Path(__file__).parents[2] / package).rglob("*.py"):
            assert "dialect.name ==" not in path.read_text()
            assert "dialect ==" not in path.read_text()
