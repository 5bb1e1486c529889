"""Request heads by themselves: where a piece ends, and what RFC 9112 does not allow."""

import json

import pytest

from exporter.http.head import Refused, check_head, piece_end, without_upgrade


@pytest.mark.parametrize(
    ("data", "at", "body_left", "end"),
    [
        (b"GET / HTTP/1.1\r\n\r\nGET", 0, None, 18),
        (b"GET / HTTP/1.1\r\n\r\nGET", 18, None, 21),
        (b"GET / HTTP/1.1\r\n\r", 0, None, 14),
        (b"GET / HTTP/1.1\r\n", 0, None, 14),
        (b"GET / HTTP/1.1\r", 0, None, 14),
        (b"GET / HTTP/1.1", 0, None, 14),
        (b"\r\n", 1, None, 2),
        (b"bodyGET", 0, 4, 4),
        (b"bodyGET", 0, 9, 7),
        (b"bodyGET", 4, 0, 4),
    ],
)
def test_a_piece_ends_with_its_request_at_most(
    data: bytes, at: int, body_left: int | None, end: int
) -> None:
    assert piece_end(data, at, body_left) == end


@pytest.mark.parametrize(
    ("version", "headers", "length"),
    [
        ("1.1", [(b"host", b"x")], None),
        ("1.1", [(b"host", b"x"), (b"content-length", b"12")], 12),
        ("1.1", [(b"host", b"x"), (b"transfer-encoding", b"Chunked")], None),
        ("1.0", [], None),
        ("1.0", [(b"host", b"x")], None),
    ],
)
def test_the_length_of_the_body_is_that_of_content_length(
    version: str, headers: list[tuple[bytes, bytes]], length: int | None
) -> None:
    assert check_head(version, headers) == length


@pytest.mark.parametrize(
    ("version", "headers", "status"),
    [
        ("1.1", [], 400),
        ("1.1", [(b"host", b"x"), (b"host", b"x")], 400),
        ("1.0", [(b"host", b"x"), (b"host", b"y")], 400),
        ("1.0", [(b"transfer-encoding", b"chunked")], 400),
        ("1.1", [(b"host", b"x"), (b"transfer-encoding", b"gzip")], 501),
        ("2.0", [(b"host", b"x")], 505),
        ("0.9", [], 505),
    ],
)
def test_a_head_against_rfc_9112_is_refused(
    version: str, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    with pytest.raises(Refused) as caught:
        check_head(version, headers)

    head, body = caught.value.response().split(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % status)
    assert sorted(line.partition(b": ")[::2] for line in lines[1:]) == [
        (b"connection", b"close"),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"application/problem+json"),
    ]
    assert json.loads(body)["status"] == status


def test_a_head_without_its_upgrade_field_keeps_the_others() -> None:
    headers = [(b"host", b"x"), (b"upgrade", b"h2c"), (b"connection", b"upgrade")]

    assert without_upgrade(b"PUT", b"/a", "1.1", headers) == (
        b"PUT /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\r\n"
    )


def test_connect_is_refused() -> None:
    with pytest.raises(Refused, match="not a proxy"):
        without_upgrade(b"CONNECT", b"x:1", "1.1", [])
