"""Counting of Received fields."""

import pytest

from reference_server.relay.loop import received_fields
from tests.reference_server.relay.pieces import cuts

FIELD = b"Received: from a by b;\n\tMon, 1 Jan 2024 00:00:00 +0000\n"
COUNTED = {
    b"": 0,
    b"Subject: x\n\nReceived: in the body\n": 0,
    FIELD + b"Subject: x\n\n" + FIELD: 1,
    FIELD + b"RECEIVED : y\nX-Received: z\n received: folded\n\n": 2,
    b"\n" + FIELD: 0,
    FIELD.replace(b"\n", b"\r\n") * 2 + b"\r\n" + FIELD: 2,
}


@pytest.mark.parametrize(("content", "expected"), COUNTED.items())
def test_received_fields_of_the_header_section_are_counted(content: bytes, expected: int) -> None:
    for pieces in cuts(content):
        assert received_fields(pieces) == expected


def test_a_header_section_without_an_end_is_counted() -> None:
    assert received_fields([FIELD * 60]) == 60
