"""Numbers that a wrong dialect yields, and numbers that only look unusual."""

from dataclasses import fields
from typing import Any

import pytest

from protocol.dialect import Dialect, Field, Operation
from protocol.dialects import V0
from protocol.plausibility import doubt
from protocol.vocabulary import Command

EVER, ACTIVE, BYTES = (
    Command.CONNECTIONS,
    Command.ACTIVE_CONNECTIONS,
    Command.TRANSFERRED_BYTES,
)
NARROWER = "the server's numbers are probably narrower than the dialect's {} bytes"
BYTE_ORDER = "the byte order of the dialect is probably wrong"


def sized(size: int, *, signed: bool = False) -> Dialect:
    """Version 0 with numbers of another size."""
    given: dict[str, Any] = {f.name: getattr(V0, f.name) for f in fields(V0) if f.init}
    commands = {
        command: Operation(code, Field(6, size), signed)
        for code, command in enumerate((EVER, ACTIVE, BYTES))
    }
    return Dialect(**(given | {"operations": commands, "name": "sized"}))


@pytest.mark.parametrize(
    ("size", "number", "cause"),
    [
        (8, 3 << 32, NARROWER.format(8)),
        (8, 1 << 32, NARROWER.format(8)),
        (8, 3 << 31, None),
        (8, 3 << 56, BYTE_ORDER),
        (8, 0x0102 << 48, BYTE_ORDER),
        (4, 5 << 16, NARROWER.format(4)),
        (4, 5 << 15, None),
        (4, 5 << 24, BYTE_ORDER),
        (2, 5 << 8, None),
        (8, 0, None),
    ],
)
def test_one_number_alone_is_doubted_if_its_lower_half_is_zero(
    size: int, number: int, cause: str | None
) -> None:
    text = doubt({EVER: 0, BYTES: number}, sized(size))

    zero = f"the low bytes of every number are zero (transferred_bytes_total {number})"
    assert text == (cause and f"{zero}: {cause}")


@pytest.mark.parametrize(
    ("ever", "octets", "doubted"),
    [(1 << 16, 3 << 16, True), (1 << 15, 3 << 16, False), (1 << 16, 1, False)],
)
def test_several_numbers_are_doubted_if_two_bytes_of_each_are_zero(
    ever: int, octets: int, doubted: bool
) -> None:
    assert bool(doubt({EVER: ever, ACTIVE: 0, BYTES: octets}, V0)) is doubted


def test_a_negative_number_is_doubted_by_its_bytes() -> None:
    text = doubt({BYTES: -1 << 56}, sized(8, signed=True))

    assert text is not None
    assert "low bytes of every number are zero" in text


@pytest.mark.parametrize(
    ("values", "doubted"),
    [
        ({EVER: 3, ACTIVE: 4}, True),
        ({EVER: 3, ACTIVE: 3}, False),
        ({EVER: 0, ACTIVE: 1}, True),
        ({ACTIVE: 4}, False),
        ({EVER: 3}, False),
        ({EVER: None, ACTIVE: 4}, False),
    ],
)
def test_more_active_connections_than_ever_are_doubted(
    values: dict[Command, int | None], doubted: bool
) -> None:
    text = doubt(values, V0)

    assert (text is not None and text.startswith("4 active connections of 3")) or not (
        doubted and values[EVER]
    )
    assert bool(text) is doubted


@pytest.mark.parametrize(
    ("before", "after", "doubted"),
    [
        ({EVER: 5, BYTES: 7}, {EVER: 5 + (1 << 32), BYTES: 7 + (3 << 32)}, True),
        ({EVER: 5, BYTES: 7}, {EVER: 5, BYTES: 7 + (1 << 32)}, True),
        ({EVER: 5, BYTES: 7}, {EVER: 6, BYTES: 7 + (1 << 32)}, False),
        ({EVER: 5, BYTES: 7}, {EVER: 5, BYTES: 7 + (1 << 31)}, False),
        ({EVER: 5, BYTES: 7}, {EVER: 5, BYTES: 7}, False),
        ({EVER: 5, ACTIVE: 1}, {EVER: 5, ACTIVE: 3}, False),
        ({EVER: 5 + (1 << 32)}, {EVER: 5}, True),
    ],
)
def test_counters_that_change_by_multiples_of_2_to_the_32_are_doubted(
    before: dict[Command, int], after: dict[Command, int], doubted: bool
) -> None:
    text = doubt(after, V0, before)

    assert bool(text) is doubted
    assert text is None or "multiples of 2^32" in text


def test_counters_of_4_bytes_may_change_by_anything() -> None:
    assert doubt({EVER: 5 + (1 << 32)}, sized(4), {EVER: 5}) is None
