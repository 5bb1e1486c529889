from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.describe import as_text, describe
from protocol.dialect import Dialect, Field, Operation
from protocol.dialects import DIALECTS, V0
from protocol.vocabulary import Command


def kinds(datagram: str) -> list[tuple[str, str]]:
    return [(one.kind, one.dialect) for one in describe(bytes.fromhex(datagram))]


def faults(datagram: str) -> set[str]:
    return {fault for one in describe(bytes.fromhex(datagram)) for fault in one.faults}


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        ("cffe00 1234 7365637265747061 00", [("request", "v0")]),
        ("cffe00 1234 01 0000000000000000", [("response", "v0"), ("request", "v0")]),
        ("cffe00 1234 00 0000000000000003", [("response", "v0"), ("request", "v0")]),
        ("cffe00 1234 00 0000000000000063", [("response", "v0")]),
        ("fffe00 1234 7365637265747061 06", [("request", "group-4")]),
        ("feff00a4 3412 00 00 02000000", [("response", "group-6")]),
        ("feff0000 3412 6f 05", [("request", "group-6")]),
        ("feca00 1234 00 e804000000000000", [("response", "group-11"), ("request", "group-11")]),
    ],
)
def test_a_datagram_has_every_interpretation_without_faults(
    datagram: str, expected: list[tuple[str, str]]
) -> None:
    assert kinds(datagram) == expected
    assert faults(datagram) == set()


def test_every_byte_has_a_name() -> None:
    (request,) = describe(bytes.fromhex("cffe00 1234 7365637265747061 05"))

    assert [(part.name, part.octets.hex(), part.meaning) for part in request.parts] == [
        ("SIG", "cffe", "SMTPStatus, v0"),
        ("VER", "00", "version 0"),
        ("RID", "1234", "4660 (0x1234)"),
        ("AUTH", "7365637265747061", "'secretpa'"),
        ("CMD", "05", "disable transforms"),
    ]


@pytest.mark.parametrize(
    ("datagram", "fault"),
    [
        ("cffe00 1234 7365637265747061", "wrong size: 13 bytes; a request has 14"),
        ("cffe00 1234 7365637265747061 00 00", "beyond: after the end"),
        ("cffe07 1234 7365637265747061 00", "VER: invalid version: v0 has version 0"),
        ("cffe00 1234 7365637265747061 63", "CMD: invalid command"),
        ("cffe00 1234 03 0000000000000063", "RES: an error with a result that is not zero"),
        ("cffe00 1234 09 0000000000000063", "STAT: unknown status"),
        ("cfff00 1234 7365637265747061 00", "SIG: not cf fe: a server does not answer it"),
        ("cffe00 12", "RID: 1 of 2 bytes"),
        ("", "SIG: missing"),
    ],
)
def test_a_malformed_datagram_has_its_faults_named(datagram: str, fault: str) -> None:
    assert fault in faults(datagram)


def test_a_result_is_described_with_every_possible_value() -> None:
    off, *_ = describe(bytes.fromhex("cffe00 1234 00 0000000000000001"))
    narrow, *_ = describe(bytes.fromhex("fffe00 1234 00 00000181 00000000"))

    assert off.parts[-1].meaning == "1 or off"
    assert narrow.parts[-1].meaning == "385 or on"


def test_the_text_marks_the_faulty_part() -> None:
    text = as_text(describe(bytes.fromhex("cffe07 1234 7365637265747061 00"))[0])

    assert (
        "VER     07                       version 7  <-- invalid version: v0 has version 0" in text
    )


REQUEST = """\
a request of v0, 14 bytes

    0-1  SIG     cf fe                    SMTPStatus, v0
      2  VER     00                       version 0
    3-4  RID     12 34                    4660 (0x1234)
   5-12  AUTH    73 65 63 72 65 74 70 61  'secretpa'
     13  CMD     05                       disable transforms"""
UNKNOWN = """\
a request of v0, 14 bytes, malformed

    0-1  SIG     cf fe                    SMTPStatus, v0
      2  VER     00                       version 0
    3-4  RID     12 34                    4660 (0x1234)
   5-12  AUTH    73 65 63 72 65 74 70 61  'secretpa'
     13  CMD     63                       no command of v0  <-- invalid command"""
SHORT = """\
a response of v0, 1 byte, malformed

      0  SIG     cf  <-- 1 of 2 bytes
      2  VER  <-- missing
      3  RID  <-- missing
      5  STAT  <-- missing
      6  RES  <-- missing

  wrong size: 1 bytes; a response has 14"""


@pytest.mark.parametrize(
    ("datagram", "text"),
    [
        ("cffe00 1234 7365637265747061 05", REQUEST),
        ("cffe00 1234 7365637265747061 63", UNKNOWN),
        ("cf", SHORT),
    ],
)
def test_the_text_has_one_line_for_each_part(datagram: str, text: str) -> None:
    assert text in map(as_text, describe(bytes.fromhex(datagram), (V0,)))


def test_the_columns_of_the_text_are_as_wide_as_the_longest_part() -> None:
    (one,) = describe(bytes.fromhex("cffe00 1234 00" + 24 * "01"), (WIDE,))
    lines = as_text(one).splitlines()

    assert lines[2] == "    0-1  SIG     " + "cf fe".ljust(73) + "SMTPStatus, wide"
    assert lines[6].startswith("   6-29  RES     " + " ".join(["01"] * 24) + "  connections total")


@given(st.sampled_from([b"", *(d.header for d in DIALECTS.values())]), st.binary(max_size=40))
def test_every_byte_of_any_datagram_is_covered_once_and_in_order(
    header: bytes, rest: bytes
) -> None:
    datagram = header + rest
    for dialects in ((), (V0,)):
        for one in describe(datagram, dialects):
            assert b"".join(part.octets for part in one.parts) == datagram
            assert as_text(one)


def changed(dialect: Dialect, **changes: Any) -> Dialect:
    given = {f.name: getattr(dialect, f.name) for f in fields(dialect) if f.init}
    return Dialect(**(given | changes))


ZEROED = changed(V0, name="zeroed", zeroed_errors=True)
WIDE = changed(
    V0,
    name="wide",
    response_length=30,
    result=Field(6, 24),
    operations={
        Command.CONNECTIONS: Operation(0, Field(6, 8)),
        Command.ACTIVE_CONNECTIONS: Operation(1, Field(14, 8)),
        Command.TRANSFORMS: Operation(3, Field(22, 1), flag=True),
        Command.ENABLE_TRANSFORMS: Operation(4, None, flag=True),
    },
)


@pytest.mark.parametrize("by_signature", [True, False])
def test_an_error_with_a_zeroed_header_is_not_malformed(by_signature: bool) -> None:
    (error,) = describe(
        bytes.fromhex("000000 0000 01 0000000000000000"), [ZEROED], by_signature=by_signature
    )

    assert (error.kind, error.faults) == ("response", [])
    assert error.parts[0].meaning == "zero in error responses of zeroed"
    assert "authentication failed" in as_text(error)


@pytest.mark.parametrize(
    "datagram",
    ["000000 0000 00 0000000000000000", "000000 1234 01 0000000000000000", "000000 0000 01 00"],
)
def test_zeros_that_are_not_an_error_of_the_dialect_are_malformed(datagram: str) -> None:
    found = describe(bytes.fromhex(datagram), [ZEROED])

    assert all(one.faults for one in found)


def test_a_wide_result_is_described_with_each_possible_value() -> None:
    datagram = bytes.fromhex("cffe00 1234 00") + (1234).to_bytes(8) + (5).to_bytes(8) + bytes(8)
    response = next(one for one in describe(datagram, [WIDE]) if one.kind == "response")

    meaning = response.parts[-1].meaning
    assert meaning == "connections total 1,234, active connections 5, transforms enabled on"
    assert f"{response.parts[-1].octets.hex(' ')}  {meaning}" in as_text(response)


def test_a_negative_number_is_shown_as_such() -> None:
    response, *_ = describe(bytes.fromhex("feff0000 3412 00 00 ffffffff"), [DIALECTS["group-6"]])

    assert response.parts[-1].meaning == "-1"
