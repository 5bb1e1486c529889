"""Encoding of content for SMTP, and its size."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.body import Body
from reference_server.relay.content import ContentEncoder, InvalidContent, Measure, Measurer
from tests.reference_server.relay.pieces import cuts


def encode(pieces: Iterable[bytes]) -> bytes:
    encoder = ContentEncoder()
    return b"".join([encoder.encode(piece) for piece in pieces]) + encoder.finish()


def measure(pieces: Iterable[bytes]) -> Measure:
    measurer = Measurer()
    for piece in pieces:
        measurer.add(piece)
    return measurer.result()


ENCODED = {
    b"": b".\r\n",
    b"a\nb\n": b"a\r\nb\r\n.\r\n",
    b"a\r\nb\n": b"a\r\nb\r\n.\r\n",
    b"no line end": b"no line end\r\n.\r\n",
    b".\n..\n.a\n": b"..\r\n...\r\n..a\r\n.\r\n",
    b"a.\n\n.": b"a.\r\n\r\n..\r\n.\r\n",
    b"\r\n.\r\n": b"\r\n..\r\n.\r\n",
}


@pytest.mark.parametrize(("content", "expected"), ENCODED.items())
def test_content_is_encoded_the_same_however_it_is_split(content: bytes, expected: bytes) -> None:
    for pieces in cuts(content):
        assert encode(pieces) == expected


@pytest.mark.parametrize("content", [b"a\rb\n", b"\r", b"a\r", b"\r\r\n", b"a\r.\r\n"])
def test_a_bare_cr_raises_invalid_content_however_it_is_split(content: bytes) -> None:
    for pieces in cuts(content):
        with pytest.raises(InvalidContent):
            encode(pieces)


CONTENT = st.lists(
    st.sampled_from(
        [b"\n", b"\r\n", b".", b"..", b"a", b"Subject: x", "ü".encode(), b"\0", b"x" * 50]
    )
).map(b"".join)


@given(CONTENT, st.lists(st.integers(0, 200), max_size=5))
def test_a_server_decodes_what_was_encoded_to_the_same_content(
    content: bytes, positions: list[int]
) -> None:
    edges = [0, *sorted(min(position, len(content)) for position in positions), len(content)]
    pieces = [content[a:b] for a, b in itertools.pairwise(edges)]
    body = Body(1_000_000, 1_000_000)

    decoded, rest = body.decode(encode(pieces) + b"QUIT")

    expected = content.replace(b"\r\n", b"\n")
    if expected and not expected.endswith(b"\n"):
        expected += b"\n"
    assert (decoded, rest, body.fault) == (expected, b"QUIT", None)
    assert measure(pieces).size == body.size


MEASURED = {
    b"": Measure(),
    b"Subject: x\n\nhello\n": Measure(21),
    b"Subject: x\r\n\r\nhello\r\n": Measure(21),
    b"Subject: x\n\nhell\xf6": Measure(21, eight_bit=True),
    b"Subject: \xc3\xb6\n\nhello\n": Measure(22, eight_bit=True, eight_bit_header=True),
    b"Subject: x\r\n\r\n\xff": Measure(17, eight_bit=True),
    b"\n\xff\n": Measure(5, eight_bit=True),
    b"\xff": Measure(3, eight_bit=True, eight_bit_header=True),
}


@pytest.mark.parametrize(("content", "expected"), MEASURED.items())
def test_content_is_measured_the_same_however_it_is_split(
    content: bytes, expected: Measure
) -> None:
    for pieces in cuts(content):
        assert measure(pieces) == expected
