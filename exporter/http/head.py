"""Request heads: finds their end, and rejects what the parser accepts contrary to RFC 9110 and RFC 9112."""

from collections.abc import Sequence
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from exporter.http.responses import Problem

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values, as ASGI has them."""


_HEAD_END = b"\r\n\r\n"


class Refused(Exception):
    """A request that is not parsed any further; the connection is closed after the response."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self._problem = Problem(status, detail, {"Connection": "close"})

    def response(self) -> bytes:
        """A problem document, with its status line and header fields."""
        response = self._problem.response()
        fields = (name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        return b"".join(
            (STATUS_LINE[response.status_code], *fields, b"\r\n", bytes(response.body))
        )


def piece_end(data: bytes, at: int, body_left: int | None) -> int:
    """Where the next piece to parse ends, so that a request ends at most at its end.

    `body_left` is what is left of a body with Content-Length.
    """
    if body_left is not None:
        return min(at + body_left, len(data))
    found = data.find(_HEAD_END, at)
    if found >= 0:
        return found + len(_HEAD_END)
    # A partial end is kept back, because its rest may be in the next piece.
    for length in (3, 2, 1):
        if data.endswith(_HEAD_END[:length], at):
            return len(data) - length
    return len(data)


def check_head(version: str, headers: Headers) -> int | None:
    """The body's length by Content-Length, or None. Raises `Refused`."""
    if version not in ("1.0", "1.1"):
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is supported")
    hosts = 0
    length = None
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if version == "1.0":  # RFC 9112, 6.1
                raise Refused(HTTPStatus.BAD_REQUEST, "Transfer-Encoding requires HTTP/1.1")
            if value.lower() != b"chunked":
                raise Refused(HTTPStatus.NOT_IMPLEMENTED, "unsupported Transfer-Encoding")
    if hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112, 3.2
        raise Refused(HTTPStatus.BAD_REQUEST, "exactly one Host header field is required")
    return length


def without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """The head without its `Upgrade` field, which a server may ignore (RFC 9110, 7.8). Raises `Refused`."""
    if method == b"CONNECT":
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, "this server is not a proxy")
    fields = (b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade")
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), b"".join(fields))
