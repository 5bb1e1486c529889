"""What Prometheus asks for: /metrics, /probe and /sd."""

import asyncio
import zlib
from collections.abc import Iterable
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers

from exporter.exposition import exposition
from exporter.negotiation import gzip_accepted, text_format
from exporter.problem import Problem
from exporter.scrape_timeout import HEADER, budget
from exporter.service import Service

router = APIRouter(tags=["scraping"])

_GZIP = 16 + zlib.MAX_WBITS
_PATIENCE = 0.005
"""Seconds of writing before others have their turn."""


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The exporter's own metrics, and every configured target's."""
    service: Service = request.app.state.service
    installed = service.installed
    deadline = deadline_of(request)
    with request.app.state.admission.place():
        scrapes = await installed.targets.read_all(deadline)
        form = text_format(request.headers.get("accept", ""))
        rows = installed.rows(scrapes)
        lines = exposition(rows, form, service.own.registry)
        return await _text(lines, form.value, request.headers)


@router.get("/probe")
async def probe(request: Request) -> Response:
    """One target's metrics, by its name or by an address that may be probed."""
    service: Service = request.app.state.service
    installed = service.installed
    given = request.query_params.getlist("target")
    if len(given) != 1 or not given[0]:
        raise Problem(HTTPStatus.BAD_REQUEST, "give target exactly once: a name, or host:port")
    deadline = deadline_of(request)
    with request.app.state.admission.place():
        scrape = await installed.targets.probe(given[0], deadline)
        form = text_format(request.headers.get("accept", ""))
        return await _text(exposition([installed.row(scrape)], form), form.value, request.headers)


def deadline_of(request: Request) -> float:
    """When the answer must be there, on the loop's clock. Raises `Problem` for a header that is no time."""
    config = request.app.state.service.installed.config
    offset = request.app.state.timeout_offset
    try:
        seconds = budget(request.headers.get(HEADER), offset, config.timeout)
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
    return asyncio.get_running_loop().time() + seconds


async def _text(lines: Iterable[str], content_type: str, headers: Headers) -> Response:
    """The lines as a response, written in slices so that the event loop is never held up."""
    compressed = gzip_accepted(headers.get("accept-encoding", ""))
    packer = zlib.compressobj(level=1, wbits=_GZIP) if compressed else None
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    since = loop.time()
    for text in lines:
        part = text.encode()
        parts.append(packer.compress(part) if packer else part)
        if loop.time() - since > _PATIENCE:
            await asyncio.sleep(0)
            since = loop.time()
    if packer:
        parts.append(packer.flush())
    answer = Response(b"".join(parts), media_type=content_type)
    answer.headers["Vary"] = "Accept, Accept-Encoding"
    if packer:
        answer.headers["Content-Encoding"] = "gzip"
    return answer
