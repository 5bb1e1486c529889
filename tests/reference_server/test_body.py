import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference_server.body import Body
from reference_server.reply import Reply, too_large


def decode(
    octets: bytes, cuts: Sequence[int] = (), size_limit: int = 1000, line_limit: int = 100
) -> tuple[bytes, bytes | None, Body]:
    """Returns the content, the bytes after its end, and the decoder; `cuts` are the positions of the splits."""
    body = Body(size_limit, line_limit)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(octets)}), len(octets)]
    content = b""
    for start, end in itertools.pairwise(bounds):
        piece, rest = body.decode(octets[start:end])
        content += piece
        if rest is not None:
            return content, rest + octets[end:], body
    return content, None, body


CASES = {
    "empty": (b".\r\n", b"", b""),
    "one line": (b"a\r\n.\r\n", b"a\n", b""),
    "what follows is left alone": (b"a\r\n.\r\nQUIT\r\n", b"a\n", b"QUIT\r\n"),
    "a doubled dot": (b"..\r\n...\r\n.a\r\n.\r\n", b".\n..\na\n", b""),
    "a dot inside a line": (b"a.\r\n.\r\n", b"a.\n", b""),
    "empty lines": (b"\r\n\r\n.\r\n", b"\n\n", b""),
    "a bare LF is a line end": (b"a\nb\r\n.\r\n", b"a\nb\n", b""),
    "a doubled dot after a bare LF": (b"a\n..b\n...\r\n.\r\n", b"a\n.b\n..\n", b""),
    "a lone dot after a bare LF is not the end": (b"a\n.\r\nb\r\n.\r\n", b"a\n\nb\n", b""),
    "a dot after a bare LF at the start": (b"\n..b\r\n.\r\n", b"\n.b\n", b""),
    "no end": (b"a\r\n", b"a", None),
    "octets beyond ASCII": (b"\x00\xff\r\n.\r\n", b"\x00\xff\n", b""),
}


@pytest.mark.parametrize(("octets", "content", "rest"), CASES.values(), ids=CASES)
def test_content_is_decoded(octets: bytes, content: bytes, rest: bytes | None) -> None:
    assert decode(octets)[:2] == (content, rest)


sent = st.lists(
    st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\r\n.", b"..", b"text", b"\r\n.\r\n"]),
    max_size=30,
).map(b"".join)


@given(sent, st.lists(st.integers(0, 100)))
@example(b"\r\r\n.\r\r\n.\r\n", [1, 2, 3, 4, 5, 6, 7, 8])
def test_content_does_not_depend_on_the_pieces(octets: bytes, cuts: list[int]) -> None:
    content, rest, body = decode(octets, line_limit=4)
    again, rest_again, body_again = decode(octets, cuts, line_limit=4)

    if rest is not None:
        assert (again, rest_again) == (content, rest)
        assert (body_again.fault, body_again.size) == (body.fault, body.size)


@given(sent, st.lists(st.integers(0, 100)))
def test_a_message_ends_at_the_first_crlf_dot_crlf_and_nowhere_else(
    octets: bytes, cuts: list[int]
) -> None:
    _, rest, _ = decode(octets, cuts)

    before, end, behind = (b"\r\n" + octets).partition(b"\r\n.\r\n")
    assert rest == (behind if end else None)
    del before


@given(
    st.lists(st.sampled_from(["", ".", "..", ".a", "text", "ü"])), st.lists(st.integers(0, 100))
)
def test_dot_stuffing_round_trips(lines: list[str], cuts: list[int]) -> None:
    encoded = "".join(f".{line}\r\n" if line.startswith(".") else f"{line}\r\n" for line in lines)

    content, rest, body = decode(encoded.encode() + b".\r\n", cuts)

    assert (content.decode(), rest) == ("".join(f"{line}\n" for line in lines), b"")
    assert body.fault is None
    assert body.size == len("".join(f"{line}\r\n" for line in lines).encode())


@pytest.mark.parametrize("octets", [b"a\rb\r\n.\r\n", b"\r\r\n.\r\n", b"a\r\n.\r\r\n.\r\n"])
def test_a_bare_cr_is_an_error(octets: bytes) -> None:
    assert decode(octets)[2].fault == Reply(550, "5.6.0", "Error: bare <CR> in message")


@given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 100)))
def test_a_line_beyond_the_limit_is_an_error_and_one_at_the_limit_is_not(
    lengths: list[int], cuts: list[int]
) -> None:
    octets = b"".join(b"x" * length + b"\r\n" for length in lengths) + b".\r\n"

    fault = decode(octets, cuts, line_limit=5)[2].fault
    assert (fault == Reply(550, "5.6.0", "Error: line too long")) == (max(lengths) > 5)


def test_a_message_beyond_the_limit_is_an_error_and_one_at_the_limit_is_not() -> None:
    assert decode(b"12345678\r\n.\r\n", size_limit=10)[2].fault is None
    assert decode(b"123456789\r\n.\r\n", size_limit=10)[2].fault == too_large(10)
