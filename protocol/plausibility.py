"""Recognises numbers that a wrong dialect produces.

A dialect whose numbers have another byte order, width or offset than the server's yields well-formed responses with
absurd values: 3 connections become 12884901888. No single value proves it, so the result is a warning, not an error.
"""

from collections.abc import Mapping

from protocol.dialect import Dialect
from protocol.message import Value
from protocol.vocabulary import COUNTERS, Command

_NARROWEST = 4
"""Bytes; in narrower numbers low bytes of zero are not remarkable."""

_TWO_BYTES = 1 << 16
"""Two numbers are divisible by this by chance once in four thousand million readings; one alone must be by more."""


def doubt(
    values: Mapping[Command, Value | None],
    dialect: Dialect,
    before: Mapping[Command, Value | None] | None = None,
) -> str | None:
    """Why the numbers of a reading are implausible, with the likely cause, or None.

    `before` is an earlier reading of the same server.
    """
    shifted = {
        command: (number, size)
        for command, number, size in _numbers(values, dialect)
        if number and size >= _NARROWEST
    }
    single = len(shifted) == 1
    if shifted and all(
        number % (_half(size) if single else _TWO_BYTES) == 0 for number, size in shifted.values()
    ):
        command, (number, size) = next(iter(shifted.items()))
        cause = _cause(number, size)
        return f"the low bytes of every number are zero ({command.value} {number}): {cause}"
    ever, active = values.get(Command.CONNECTIONS), values.get(Command.ACTIVE_CONNECTIONS)
    if ever is not None and active is not None and active > ever:
        return (
            f"{active} active connections of {ever} in total: the numbers of dialect"
            f" {dialect.name} probably have another byte order, width or offset than the server's"
        )
    if before is not None and _jumps(values, before, dialect):
        return (
            "the counters change by multiples of 2^32 only: the numbers of dialect"
            f" {dialect.name} are probably wider than the server's"
        )
    return None


def _numbers(
    values: Mapping[Command, Value | None], dialect: Dialect
) -> list[tuple[Command, int, int]]:
    """Each number of a reading with its command and its size in bytes."""
    found = []
    for command, value in values.items():
        operation = dialect.operations[command]
        if value is not None and operation.value and not operation.flag:
            found.append((command, int(value), operation.value.size))
    return found


def _half(size: int) -> int:
    return 1 << 4 * size


def _cause(number: int, size: int) -> str:
    """Whether the number is smaller in the other byte order, or in half of its width."""
    reversed_bytes = int.from_bytes((number % (1 << 8 * size)).to_bytes(size), "little")
    if reversed_bytes < number // _half(size):
        return "the byte order of the dialect is probably wrong"
    return f"the server's numbers are probably narrower than the dialect's {size} bytes"


def _jumps(
    values: Mapping[Command, Value | None],
    before: Mapping[Command, Value | None],
    dialect: Dialect,
) -> bool:
    changes = [
        number - int(earlier)
        for command, number, size in _numbers(values, dialect)
        if command in COUNTERS
        and size == 8
        and (earlier := before.get(command)) is not None
        and number != earlier
    ]
    return bool(changes) and all(change % (1 << 32) == 0 for change in changes)
