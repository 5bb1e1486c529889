import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.describe import as_text, describe
from protocol.dialects import DIALECTS, V0


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
def test_a_datagram_is_read_in_every_way_that_has_no_fault(
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
        ("cffe00 1234 7365637265747061", "13 bytes, where a request has exactly 14"),
        ("cffe00 1234 7365637265747061 00 00", "beyond: too long"),
        ("cffe07 1234 7365637265747061 00", "VER: invalid version: v0 has 0"),
        ("cffe00 1234 7365637265747061 63", "CMD: invalid command"),
        ("cffe00 1234 03 0000000000000063", "RES: an error carries no number"),
        ("cffe00 1234 09 0000000000000063", "STAT: a status that means nothing"),
        ("cfff00 1234 7365637265747061 00", "SIG: not cf fe: answered with silence"),
        ("cffe00 12", "RID: 1 of 2 bytes"),
        ("", "SIG: missing"),
    ],
)
def test_a_fault_is_pointed_at(datagram: str, fault: str) -> None:
    assert fault in faults(datagram)


def test_a_number_is_told_in_every_sense_that_it_can_have() -> None:
    off, *_ = describe(bytes.fromhex("cffe00 1234 00 0000000000000001"))
    narrow, *_ = describe(bytes.fromhex("fffe00 1234 00 00000181 00000000"))

    assert off.parts[-1].meaning == "1, or for a switch off"
    assert narrow.parts[-1].meaning == "385, or for a switch on"


def test_the_text_points_at_what_is_wrong() -> None:
    text = as_text(describe(bytes.fromhex("cffe07 1234 7365637265747061 00"))[0])

    assert "VER     07                       version 7  <-- invalid version: v0 has 0" in text


@given(st.sampled_from([b"", *(d.header for d in DIALECTS.values())]), st.binary(max_size=40))
def test_whatever_the_bytes_every_one_is_covered_once_and_in_order(
    header: bytes, rest: bytes
) -> None:
    datagram = header + rest
    for dialects in ((), (V0,)):
        for one in describe(datagram, dialects):
            assert b"".join(part.octets for part in one.parts) == datagram
            assert as_text(one)
