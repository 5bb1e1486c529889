"""Dialects that a table can describe, for property tests."""

from collections.abc import Mapping
from typing import Literal

from hypothesis import strategies as st

from protocol.dialect import NOWHERE, Dialect, Field, Operation
from protocol.vocabulary import WRITES, Command, Status

_ECHOES: tuple[Literal["always", "good", "never"], ...] = ("always", "good", "never")
_FLAG_WORDS = ("TRANSFORMS", "VERBOSE")


@st.composite
def _placed(draw: st.DrawFn, start: int, sizes: Mapping[str, int]) -> tuple[dict[str, Field], int]:
    """Fields of these sizes in any order after `start`, with padding; and the length of the datagram."""
    places: dict[str, Field] = {}
    offset = start
    for name in draw(st.permutations(list(sizes))):
        offset += draw(st.integers(0, 2))
        places[name] = Field(offset, sizes[name])
        offset += sizes[name]
    return places, offset + draw(st.integers(0, 2))


@st.composite
def _operations(draw: st.DrawFn, result: Field) -> dict[Command, Operation]:
    reads = [command for command in Command if command not in WRITES]
    chosen = draw(st.lists(st.sampled_from(reads), min_size=1, max_size=5, unique=True))
    chosen += draw(st.lists(st.sampled_from(sorted(WRITES)), max_size=4, unique=True))
    codes = draw(
        st.lists(st.integers(0, 255), min_size=len(chosen), max_size=len(chosen), unique=True)
    )
    found = {}
    for command, code in zip(chosen, codes, strict=True):
        size = draw(st.integers(1, min(8, result.size)))
        offset = draw(st.integers(result.offset, result.end - size))
        value: Field | None = Field(offset, size)
        if command in WRITES and draw(st.booleans()):
            value = None
        flag = command.name.endswith(_FLAG_WORDS)
        found[command] = Operation(code, value, flag=flag)
    return found


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    """Hypothesis strategy for dialects: fields in any order and place, every option."""
    signature = draw(st.binary(max_size=3))
    start = len(signature) + 1
    echo = draw(st.sampled_from(_ECHOES))
    size = draw(st.integers(1, 4))
    missing = echo == "never" and draw(st.booleans())
    identifiers = {} if missing else {"identifier": size}
    request, request_length = draw(
        _placed(start, {"token": draw(st.integers(1, 8)), "command": 1, **identifiers})
    )
    response, response_length = draw(
        _placed(start, {"status": 1, "result": draw(st.integers(2, 20)), **identifiers})
    )
    codes = draw(st.lists(st.integers(0, 255), min_size=8, max_size=8, unique=True))
    known = [
        Status.DONE,
        *draw(st.sets(st.sampled_from([s for s in Status if s is not Status.DONE]))),
    ]
    on, off = draw(st.sampled_from([(0, (1,)), (1, (0,)), (255, (0, 7))]))
    return Dialect(
        name="drawn",
        signature=signature,
        version=draw(st.integers(0, 255)),
        request_length=request_length,
        request_identifier=request.get("identifier", NOWHERE),
        authentication=request["token"],
        command=request["command"],
        response_length=response_length,
        response_identifier=response.get("identifier", NOWHERE),
        status=response["status"],
        result=response["result"],
        operations=draw(_operations(response["result"])),
        statuses=dict(zip(codes, known, strict=False)),
        byte_order=draw(st.sampled_from(["big", "little"])),
        on=on,
        off=off,
        identifier_echo=echo,
        fixed_identifier=draw(st.integers(0, 255)) if echo == "never" and not missing else 0,
        zeroed_errors=draw(st.booleans()),
        silent_errors=draw(st.booleans()),
    )
