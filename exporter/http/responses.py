"""Responses: problem documents (RFC 9457), content negotiation, and long bodies in chunks.

Content negotiation is Prometheus': Accept and Accept-Encoding with their weights (RFC 9110, 12.4.2).
Whatever a header holds, one of our own formats is chosen and nothing of the header is repeated.
"""

import asyncio
import json
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus

from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from exporter.exposition import Format
from exporter.http.limits import ABORT, RequestLimits, WorkingRequest
from protocol.timeslice import timeslices

_GZIP = 16 + zlib.MAX_WBITS
_HEADERS = {"Vary": "Accept, Accept-Encoding", "Cache-Control": "no-store"}
_MIN_GZIP_BYTES = 14_600
"""A shorter body is sent whole before the first acknowledgement (RFC 6928), compressed or not."""
_CHUNK_BYTES = 1 << 16
_TLS_CHUNK_BYTES = 1 << 14
"""Less than without TLS, which keeps a chunk that the client does not read three times."""
_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_MAX_HEADER_LENGTH = 4096
_CACHED_HEADERS = 32
"""Scrapers send the same headers for years."""


class Problem(Exception):
    """An error response: `detail` says what happened, `members` are beyond those of RFC 9457."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members

    def response(self) -> Response:
        document = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            **self.members,
        }
        return Response(
            json.dumps(document),
            self.status,
            self.headers,
            media_type="application/problem+json",
        )


class LimitedResponse(Response):
    """A response that counts as work from its rendering until the client has read it.

    A client that does not read loses its connection when its place is needed. Raises `TooManyRequests`
    instead of rendering when too many requests work.
    """

    def __init__(self, limits: RequestLimits, render: Callable[[], Awaitable[Response]]) -> None:
        self.background = None  # `Response.__init__` would render headers that are not sent
        self._limits = limits
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._limits.working(scope[ABORT]) as request:
            response = await self._render()
            request.sent_at = time.monotonic()
            if len(response.body) > _TLS_CHUNK_BYTES:  # sent in several pieces
                send = _noting_progress(send, request)
            await response(scope, receive, send)


def _noting_progress(send: Send, request: WorkingRequest) -> Send:
    async def sending(message: Message) -> None:
        request.sent_at = time.monotonic()
        await send(message)

    return sending


class ChunkedBody(Response):
    """A response that completes only once the client has read it (back-pressure)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Cancelled when the HTTP server shuts down while the client does not read.
        with suppress(asyncio.CancelledError):
            start = {"type": "http.response.start", "status": self.status_code}
            await send({**start, "headers": self.raw_headers})
            size = _TLS_CHUNK_BYTES if scope["scheme"] == "https" else _CHUNK_BYTES
            if len(self.body) <= size:
                await send({"type": "http.response.body", "body": self.body})
                return
            for at in range(0, len(self.body), size):
                piece = self.body[at : at + size]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})


def json_list(key: str, documents: Iterable[object]) -> Iterator[str]:
    """`{"key":[…]}`, one string for each document."""
    yield f'{{"{key}":['
    comma = ""
    for document in documents:
        yield comma + json.dumps(document, separators=(",", ":"))
        comma = ","
    yield "]}"


def short_response(content_type: str, text: str) -> Response:
    """A text that is sent whole before the first acknowledgement (RFC 6928), so that compressing it gains nothing."""
    return ChunkedBody(text.encode(), media_type=content_type, headers=_HEADERS)


async def text_response(request: Request, content_type: str, texts: Iterable[str]) -> Response:
    """The texts as one body, compressed with gzip where the client accepts it."""
    pieces = [text.encode() async for text in timeslices(texts)]
    headers = dict(_HEADERS)
    wanted = gzip_accepted(request.headers.get("accept-encoding", ""))
    if wanted and sum(map(len, pieces)) >= _MIN_GZIP_BYTES:
        packer = zlib.compressobj(level=1, wbits=_GZIP)
        pieces = [packer.compress(piece) async for piece in timeslices(pieces)] + [packer.flush()]
        headers["Content-Encoding"] = "gzip"
    return ChunkedBody(b"".join(pieces), media_type=content_type, headers=headers)


@lru_cache(_CACHED_HEADERS)
def text_format(accept: str) -> Format:
    """OpenMetrics 1.0 where it is preferred to plain text or equal to it, else the text format 0.0.4."""
    weights = {Format.TEXT: -1.0, Format.OPENMETRICS: -1.0}
    for name, parameters, weight in _choices(accept):
        if name == "application/openmetrics-text":
            if parameters.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
                weights[Format.OPENMETRICS] = max(weights[Format.OPENMETRICS], weight)
        elif name in ("text/plain", "text/*", "*/*") and (
            parameters.get("version", "0.0.4") == "0.0.4"
        ):
            weights[Format.TEXT] = max(weights[Format.TEXT], weight)
    wanted = weights[Format.OPENMETRICS]
    return Format.OPENMETRICS if wanted > 0 and wanted >= weights[Format.TEXT] else Format.TEXT


@lru_cache(_CACHED_HEADERS)
def gzip_accepted(accept_encoding: str) -> bool:
    """Whether gzip is accepted, by name or by `*`, with a weight above zero."""
    weights = {name: weight for name, _, weight in _choices(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _choices(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for choice in header[:_MAX_HEADER_LENGTH].split(","):
        name, *rest = (part.strip() for part in choice.split(";"))
        parameters: dict[str, str] = {}
        for parameter in rest:
            key, _, value = parameter.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        weight = parameters.pop("q", "1")
        if name and _WEIGHT.fullmatch(weight):
            yield name.lower(), parameters, float(weight)
