"""Dialects of the user's own, as they stand under `dialects:` in the configuration."""

from collections.abc import Mapping

import yaml

from protocol.dialect import Dialect, Field, Operation
from protocol.errors import DialectError
from protocol.vocabulary import Command, Status
from smtpstatus.document import Value

_KEYS = (
    "signature",
    "version",
    "byte_order",
    "request",
    "response",
    "commands",
    "on",
    "off",
    "statuses",
    "identifier_echo",
    "fixed_identifier",
    "zeroed_errors",
    "silent_errors",
    "default_port",
)
_STATUSES = {status.name.lower(): status for status in Status}
_COMMANDS = {command.name.lower(): command for command in Command}
_FLAG_WORDS = ("TRANSFORMS", "VERBOSE")


def dialect(name: str, value: Value) -> Dialect:
    """The dialect that a table describes. Raises `ConfigError`, which tells the field, its value and what would fit."""
    keys = value.keys(_KEYS, ("signature", "request", "response", "commands", "statuses"))
    request = keys["request"].keys(
        ("length", "identifier", "token", "command"), ("length", "identifier", "token", "command")
    )
    response = keys["response"].keys(
        ("length", "identifier", "status", "result"), ("length", "identifier", "status", "result")
    )
    result = _field(response["result"])
    integers = {
        "version": (0, 255),
        "on": (0, 2**64 - 1),
        "fixed_identifier": (0, 2**64 - 1),
        "default_port": (1, 65535),
    }
    optional: dict[str, object] = {
        key: keys[key].integer(*bounds) for key, bounds in integers.items() if key in keys
    }
    optional |= {
        key: keys[key].boolean() for key in ("zeroed_errors", "silent_errors") if key in keys
    }
    if "off" in keys:
        optional["off"] = tuple(item.integer(0, 2**64 - 1) for item in keys["off"].items())
    if "byte_order" in keys:
        optional["byte_order"] = _word(keys["byte_order"], ("big", "little"))
    if "identifier_echo" in keys:
        optional["identifier_echo"] = _word(keys["identifier_echo"], ("always", "good", "never"))
    try:
        return Dialect(
            name=name,
            signature=keys["signature"].parsed(_signature),
            request_length=request["length"].integer(1, 64),
            request_identifier=_field(request["identifier"]),
            authentication=_field(request["token"]),
            command=_field(request["command"]),
            response_length=response["length"].integer(1, 64),
            response_identifier=_field(response["identifier"]),
            status=_field(response["status"]),
            result=result,
            operations=_operations(keys["commands"], result),
            statuses=_statuses(keys["statuses"]),
            **optional,  # type: ignore[arg-type]  # each was read as the type that its field has
        )
    except DialectError as error:
        places = {
            **keys,
            "header": keys["signature"],
            "request_length": request["length"],
            "request_identifier": request["identifier"],
            "authentication": request["token"],
            "command": request["command"],
            "response_length": response["length"],
            "response_identifier": response["identifier"],
            "status": response["status"],
            "result": response["result"],
        }
        field, _, part = error.field.partition(".")
        places.get(field, value).refuse(f"{part or 'it'} {error.problem}")


def _signature(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not hexadecimal: it takes pairs of digits, like cffe"
        ) from None


def _field(value: Value) -> Field:
    """`[offset, size]`, or an offset alone for one byte."""
    if isinstance(value.node, yaml.ScalarNode):
        return Field(value.integer(0, 63), 1)
    items = value.items()
    if len(items) != 2:
        value.refuse("an offset and a size in bytes are wanted here: [3, 2]")
    return Field(items[0].integer(0, 63), items[1].integer(1, 64))


def _place(value: Value) -> Field | None:
    """Where a command's value stands; `none` where its answer only says done."""
    if value.node.value == "none":
        return None
    return _field(value)


def _operations(value: Value, result: Field) -> Mapping[Command, Operation]:
    found: dict[Command, Operation] = {}
    for name, entry in value.keys(tuple(_COMMANDS)).items():
        command = _COMMANDS[name]
        keys = entry.keys(("code", "value", "signed"), ("code",))
        found[command] = Operation(
            keys["code"].integer(0, 255),
            _place(keys["value"]) if "value" in keys else result,
            signed=keys["signed"].boolean() if "signed" in keys else False,
            flag=command.name.endswith(_FLAG_WORDS),
        )
    return found


def _statuses(value: Value) -> Mapping[int, Status]:
    found: dict[int, Status] = {}
    for name, entry in value.keys(tuple(_STATUSES)).items():
        code = entry.integer(0, 255)
        if code in found:
            entry.refuse(f"{code} is taken by {found[code].name.lower()}")
        found[code] = _STATUSES[name]
    return found


def _word(value: Value, words: tuple[str, ...]) -> str:
    text = value.text()
    if text not in words:
        value.refuse(f"{text!r} is not one of {', '.join(words)}")
    return text
