"""Long texts written without holding up the event loop."""

import asyncio
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from exporter.http.negotiation import gzip_accepted
from protocol.timeslice import Turn

_GZIP = 16 + zlib.MAX_WBITS
_WORTH_PACKING = 14_600
"""Bytes: what is shorter goes out whole before the first acknowledgement (RFC 6928), packed or not."""
_PIECE = 2**16


class ChunkedBody(Response):
    """A body that is over only when the client has taken it: the HTTP server waits before it writes the next piece."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Cancelled when the HTTP server shuts down and the client reads no further.
        with suppress(asyncio.CancelledError):
            start = {"type": "http.response.start", "status": self.status_code}
            await send({**start, "headers": self.raw_headers})
            if len(self.body) <= _PIECE:
                await send({"type": "http.response.body", "body": self.body})
                return
            for at in range(0, len(self.body), _PIECE):
                piece = self.body[at : at + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})


def json_list(key: str, documents: Iterable[object]) -> Iterator[str]:
    """`{"key":[…]}`, a slice for each document."""
    yield f'{{"{key}":['
    comma = ""
    for document in documents:
        yield comma + json.dumps(document, separators=(",", ":"))
        comma = ","
    yield "]}"


async def text_response(request: Request, content_type: str, texts: Iterable[str]) -> Response:
    """The texts as one body, packed with gzip where the client wants it."""
    turn = Turn()
    pieces = []
    for text in texts:
        pieces.append(text.encode())
        if turn.over:
            await turn.others()
    headers = {"Vary": "Accept, Accept-Encoding", "Cache-Control": "no-store"}
    wanted = gzip_accepted(request.headers.get("accept-encoding", ""))
    if wanted and sum(map(len, pieces)) >= _WORTH_PACKING:
        pieces = await _packed(pieces, turn)
        headers["Content-Encoding"] = "gzip"
    return ChunkedBody(b"".join(pieces), media_type=content_type, headers=headers)


async def _packed(pieces: Iterable[bytes], turn: Turn) -> list[bytes]:
    packer = zlib.compressobj(level=1, wbits=_GZIP)
    packed = []
    for piece in pieces:
        packed.append(packer.compress(piece))
        if turn.over:
            await turn.others()
    return [*packed, packer.flush()]
