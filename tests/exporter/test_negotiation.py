import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from exporter.exposition import Format
from exporter.http.responses import ChunkedBody, gzip_accepted, text_format, text_response

OPENMETRICS = "application/openmetrics-text"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html", Format.TEXT),
        (PROMETHEUS, Format.OPENMETRICS),
        (OPENMETRICS, Format.OPENMETRICS),
        (f'{OPENMETRICS}; version="1.0.0"', Format.OPENMETRICS),
        (f"{OPENMETRICS};version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.5", Format.OPENMETRICS),
        (f"{OPENMETRICS};q=0.4, text/plain;q=0.5", Format.TEXT),
        (f"{OPENMETRICS};q=0", Format.TEXT),
        (f"{OPENMETRICS};q=0, text/plain;q=0", Format.TEXT),
        (f"{OPENMETRICS};version=2.0.0", Format.TEXT),
        (f"{OPENMETRICS};version=abc", Format.TEXT),
        (f"{OPENMETRICS};version=99.9;q=1, text/plain;q=0.1", Format.TEXT),
        (f"{OPENMETRICS};q=high", Format.TEXT),
        (f"{OPENMETRICS};q=nan", Format.TEXT),
        (f"{OPENMETRICS};q=2, text/plain", Format.TEXT),
        (OPENMETRICS.upper(), Format.OPENMETRICS),
        ("," * 10_000, Format.TEXT),
    ],
)
def test_the_format_with_the_highest_weight_is_chosen(accept: str, form: Format) -> None:
    assert text_format(accept) is form


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0.001", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("GZIP", True),
    ],
)
def test_gzip_is_chosen_by_weight(header: str, accepted: bool) -> None:
    assert gzip_accepted(header) is accepted


@given(st.text(alphabet='gzip*/;=,q01."\\ \t\x00é', max_size=40) | st.text())
def test_any_header_yields_a_format(header: str) -> None:
    assert text_format(header) in Format
    assert gzip_accepted(header) in (True, False)


@pytest.mark.parametrize(
    ("accepted", "sizes", "compressed"),
    [
        (b"gzip", (14_600,), True),
        (b"gzip", (10_000, 4_600), True),
        (b"gzip", (14_599,), False),
        (b"identity", (100_000,), False),
        (b"gzip;q=0", (100_000,), False),
    ],
)
async def test_only_long_bodies_are_compressed_and_only_if_the_client_accepts_it(
    accepted: bytes, sizes: tuple[int, ...], compressed: bool
) -> None:
    request = Request({"type": "http", "headers": [(b"accept-encoding", accepted)]})
    answer = await text_response(request, "text/plain", ["x" * size for size in sizes])

    assert ("content-encoding" in answer.headers) is compressed
    body = gzip.decompress(bytes(answer.body)) if compressed else bytes(answer.body)
    assert body == b"x" * sum(sizes)


@pytest.mark.parametrize(
    ("scheme", "size", "pieces"),
    [
        ("http", 65_536, [65_536]),
        ("http", 65_537, [65_536, 1, 0]),
        ("https", 16_384, [16_384]),
        ("https", 40_000, [16_384, 16_384, 7_232, 0]),
    ],
)
async def test_a_long_body_is_sent_in_pieces_that_are_smaller_with_tls(
    scheme: str, size: int, pieces: list[int]
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await ChunkedBody(b"x" * size)({"type": "http", "scheme": scheme}, receive, send)

    assert [len(message.get("body", b"")) for message in sent[1:]] == pieces
    assert [message.get("more_body", False) for message in sent[1:]] == [
        *[True] * (len(pieces) - 1),
        False,
    ]
