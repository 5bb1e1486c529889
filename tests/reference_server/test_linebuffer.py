"""Octets as lines."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from reference_server.linebuffer import LineBuffer, LineTooLong

LIMIT = 5


def lines(pieces: list[bytes]) -> list[bytes | None]:
    """The lines of a stream, None for one that is too long."""
    buffer = LineBuffer(LIMIT)
    found: list[bytes | None] = []
    for piece in pieces:
        buffer.append(piece)
        while buffer.has_line:
            try:
                if line := buffer.take_line():
                    found.append(line)
            except LineTooLong:
                found.append(None)
        assert len(buffer) < LIMIT
    return found


@given(st.lists(st.binary(max_size=8)), st.lists(st.integers(0, 100)))
def test_lines_do_not_depend_on_the_pieces(words: list[bytes], cuts: list[int]) -> None:
    stream = b"\n".join(words)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]

    found = lines([stream[start:end] for start, end in itertools.pairwise(bounds)])

    complete = stream.split(b"\n")[:-1]
    assert found == [word + b"\n" if len(word) < LIMIT else None for word in complete]


def test_remaining_bytes_are_returned_unchanged() -> None:
    buffer = LineBuffer(LIMIT)
    buffer.append(b"ab\ncdefgh\n")

    assert buffer.take_line() == b"ab\n"
    assert len(buffer) == 7
    assert buffer.take_all() == b"cdefgh\n"
    assert len(buffer) == 0
