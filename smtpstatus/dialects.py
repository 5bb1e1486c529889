"""Reads dialect tables from YAML: the mapping under `dialects:` (docs/dialects.md)."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from protocol.dialect import NOWHERE, Dialect, Field, Operation
from protocol.dialects import DIALECTS
from protocol.errors import DialectError
from protocol.vocabulary import WRITES, Command, Status
from smtpstatus.document import Value, read
from smtpstatus.errors import ConfigError

_REQUIRED = ("signature", "request", "response", "commands", "statuses")
_KEYS = (
    *_REQUIRED,
    "version",
    "byte_order",
    "on",
    "off",
    "identifier_echo",
    "fixed_identifier",
    "zeroed_errors",
    "silent_errors",
    "default_port",
)
_REQUEST_KEYS = ("length", "identifier", "token", "command")
_RESPONSE_KEYS = ("length", "identifier", "status", "result")
_STATUSES = {status.name.lower(): status for status in Status}
_COMMANDS = {command.name.lower(): command for command in Command}
_FLAG_WORDS = ("TRANSFORMS", "VERBOSE")
_LARGEST = 2**64 - 1


def read_file(path: Path) -> Mapping[str, Dialect]:
    """The dialects of a file: its key `dialects`; other keys, as in an exporter's configuration, are ignored.

    Raises `ConfigError`.
    """
    root = read(path)
    tables = root.entries().get("dialects") if root else None
    if tables is None:
        raise ConfigError(f"{path}: missing key dialects: write the tables below dialects:")
    return read_all(tables)


def read_all(tables: Value) -> Mapping[str, Dialect]:
    """The dialects of a mapping from name to table. Raises `ConfigError`."""
    found = {}
    for name, table in tables.entries().items():
        if name in DIALECTS:
            table.refuse(f"duplicate dialect {name}: choose another name")
        found[name] = dialect(name, table)
    return found


def dialect(name: str, table: Value) -> Dialect:
    """The dialect that a table describes.

    Raises `ConfigError`, which names the line and the key, the problem, and what would fit.
    """
    keys = table.keys(_KEYS, _REQUIRED)
    request = keys["request"].keys(_REQUEST_KEYS, _REQUEST_KEYS)
    response = keys["response"].keys(_RESPONSE_KEYS, _RESPONSE_KEYS)
    result = _field(response["result"])
    identifiers = _identifier(request["identifier"]), _identifier(response["identifier"])
    try:
        return Dialect(
            name=name,
            signature=_signature(keys["signature"]),
            request_length=request["length"].integer(1, 64),
            request_identifier=identifiers[0],
            authentication=_field(request["token"]),
            command=_field(request["command"]),
            response_length=response["length"].integer(1, 64),
            response_identifier=identifiers[1],
            status=_field(response["status"]),
            result=result,
            operations=_operations(keys["commands"], result),
            statuses=_statuses(keys["statuses"]),
            **_optional(keys, missing=NOWHERE in identifiers),  # type: ignore[arg-type]  # as read
        )
    except DialectError as error:
        _place(error.field, table).refuse(error.problem)


def summary(dialect: Dialect) -> str:
    """What a dialect reads and writes: `reads connections (00), transforms (03); writes nothing`."""
    words = []
    for verb, writes in (("reads", False), ("writes", True)):
        listed = [
            f"{command.name.lower()} ({code:02x})"
            for code, command in dialect.codes.items()
            if (command in WRITES) is writes
        ]
        words.append(f"{verb} {', '.join(listed) or 'nothing'}")
    return "; ".join(words)


def _optional(keys: Mapping[str, Value], *, missing: bool) -> dict[str, object]:
    """The optional keys that are there. `missing`: responses or requests have no identifier, so that none is echoed."""
    integers = {
        "version": (0, 255),
        "on": (0, _LARGEST),
        "fixed_identifier": (0, _LARGEST),
        "default_port": (1, 65535),
    }
    found: dict[str, object] = {
        key: keys[key].integer(*bounds) for key, bounds in integers.items() if key in keys
    }
    for key in ("zeroed_errors", "silent_errors"):
        if key in keys:
            found[key] = keys[key].boolean()
    if "off" in keys:
        off = keys["off"]
        items = [off] if isinstance(off.node, yaml.ScalarNode) else off.items()
        found["off"] = tuple(item.integer(0, _LARGEST) for item in items)
    if "byte_order" in keys:
        found["byte_order"] = _word(keys["byte_order"], ("big", "little"))
    if "identifier_echo" in keys:
        found["identifier_echo"] = _word(keys["identifier_echo"], ("always", "good", "never"))
    if missing and found.setdefault("identifier_echo", "never") != "never":
        keys["identifier_echo"].refuse("without an identifier only never is possible")
    if "fixed_identifier" in keys and found.get("identifier_echo") != "never":
        keys["fixed_identifier"].refuse("needs identifier_echo: never")
    return found


def _signature(value: Value) -> bytes:
    """Pairs of hexadecimal digits. Digits alone are a number in YAML, whose text is the same."""
    if not isinstance(value.node, yaml.ScalarNode) or value.node.tag.endswith(":null"):
        value.refuse("expected pairs of hex digits, such as cffe, or '' for none")
    try:
        return bytes.fromhex(value.node.value)
    except ValueError:
        value.refuse(f"{value.node.value!r} is not pairs of hex digits, such as cffe")


def _field(value: Value) -> Field:
    """`[offset, size]`, or an offset alone for one byte."""
    if isinstance(value.node, yaml.ScalarNode):
        return Field(value.integer(0, 63), 1)
    items = value.items()
    if len(items) != 2:
        value.refuse("expected an offset and a size in bytes, such as [3, 2]")
    return Field(items[0].integer(0, 63), items[1].integer(1, 64))


def _is_none(value: Value) -> bool:
    return isinstance(value.node, yaml.ScalarNode) and value.node.value == "none"


def _identifier(value: Value) -> Field:
    return NOWHERE if _is_none(value) else _field(value)


def _operations(value: Value, result: Field) -> Mapping[Command, Operation]:
    found: dict[Command, Operation] = {}
    for name, entry in value.keys(tuple(_COMMANDS)).items():
        command = _COMMANDS[name]
        keys = entry.keys(("code", "value", "signed"), ("code",))
        place: Field | None = result
        if "value" in keys:
            place = None if _is_none(keys["value"]) else _field(keys["value"])
        flag = command.name.endswith(_FLAG_WORDS)
        if flag and "signed" in keys:
            keys["signed"].refuse("a flag has no sign: delete this key")
        found[command] = Operation(
            keys["code"].integer(0, 255),
            place,
            signed=keys["signed"].boolean() if "signed" in keys else False,
            flag=flag,
        )
    return found


def _statuses(value: Value) -> Mapping[int, Status]:
    found: dict[int, Status] = {}
    for name, entry in value.keys(tuple(_STATUSES)).items():
        code = entry.integer(0, 255)
        if code in found:
            entry.refuse(f"duplicate code {code}: {found[code].name.lower()} has it")
        found[code] = _STATUSES[name]
    return found


def _word(value: Value, words: tuple[str, ...]) -> str:
    text = value.text()
    if text not in words:
        value.refuse(f"{text!r} is not one of {', '.join(words)}")
    return text


_KEYS_OF_FIELDS = {
    "header": "signature",
    "request_length": "request.length",
    "request_identifier": "request.identifier",
    "authentication": "request.token",
    "command": "request.command",
    "response_length": "response.length",
    "response_identifier": "response.identifier",
    "status": "response.status",
    "result": "response.result",
}
"""Keys of the table for fields of `Dialect` with another name."""


def _place(field: str, table: Value) -> Value:
    """The value of the table that a field of `Dialect` comes from, or the nearest one around it."""
    value = table
    for key in _KEYS_OF_FIELDS.get(field, field).split("."):
        entries = value.entries() if isinstance(value.node, yaml.MappingNode) else {}
        if key not in entries:
            break
        value = entries[key]
    return value
