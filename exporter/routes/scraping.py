"""What Prometheus asks for: /metrics, /probe and /sd."""

import asyncio
from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams

from exporter.exposition import Format, exposition
from exporter.http.disconnect import while_connected
from exporter.http.responses import Problem, text_format, text_response
from exporter.routes import models
from exporter.routes.deadline import HEADER, budget
from exporter.routes.debugging import EventRecorder, debug_report
from exporter.service import ActiveConfig, Service

router = APIRouter(tags=["scraping"])

_KEPT = 1 << 14
"""Queries whose meaning is kept, where they are short: scrapers ask the same ones again and again."""
_SHORT = 512


@router.get("/metrics", responses=models.METRICS, response_class=Response)
async def metrics(request: Request) -> Response:
    """The exporter's own metrics, and every configured target's."""
    service: Service = request.app.state.service
    installed = service.installed
    deadline = deadline_of(request)
    scrapes = await while_connected(request, installed.targets.read_all(deadline))
    form = text_format(request.headers.get("accept", ""))
    rows = await installed.rows(scrapes)
    own = service.own.registry
    return await text_response(request, form.value, exposition(rows, form, own))


@router.get(
    "/probe",
    responses=models.PROBE,
    response_class=Response,
    openapi_extra={"parameters": models.PROBE_PARAMETERS},
)
async def probe(request: Request) -> Response:
    """One target's metrics, by its name or by an address that may be probed."""
    installed = _installed(request)
    query = request.scope["query_string"]
    asked = _probe_of(query) if len(query) <= _SHORT else _probe_of.__wrapped__(query)
    deadline = deadline_of(request)
    if asked.debug:
        return await _debugged(request, installed, asked.target, deadline)
    scrape = await while_connected(request, installed.targets.probe(asked.target, deadline))
    form = text_format(request.headers.get("accept", ""))
    row = installed.row(scrape)
    return await text_response(request, form.value, exposition([row], form))


class _Probe(NamedTuple):
    target: str
    debug: bool


@lru_cache(_KEPT)
def _probe_of(query: bytes) -> _Probe:
    """What a query asks for. Raises `Problem`."""
    given = QueryParams(query)
    named = given.getlist("target")
    if len(named) != 1 or not named[0]:
        raise Problem(HTTPStatus.BAD_REQUEST, "give target exactly once: a name, or host:port")
    debug = given.get("debug", "false")
    if debug not in ("true", "false"):
        raise Problem(HTTPStatus.BAD_REQUEST, "debug is true or false")
    return _Probe(named[0], debug == "true")


ENDPOINTS = {"/metrics": metrics, "/probe": probe}
"""Those that exporter/http/middleware.py answers with."""


@router.get("/sd", responses=models.SD)
async def sd(request: Request) -> list[dict[str, Any]]:
    """The configured targets for Prometheus' http_sd_configs, complete: no relabelling is needed."""
    here = request.headers.get("host")
    if not here:
        raise Problem(HTTPStatus.BAD_REQUEST, "the Host header is missing")
    common = {"__metrics_path__": "/probe", "__scheme__": request.url.scheme}
    return [
        {
            "targets": [here],
            "labels": {
                **common,
                "__param_target": target.name,
                "target": target.name,
                **target.labels,
            },
        }
        for target in _installed(request).config.targets
    ]


def deadline_of(request: Request) -> float:
    """When the answer must be there, on the loop's clock. Raises `Problem` for a header that is no time."""
    offset = request.app.state.timeout_offset
    timeout = _installed(request).config.timeout
    try:
        seconds = budget(request.headers.get(HEADER), offset, timeout)
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
    return asyncio.get_running_loop().time() + seconds


async def _debugged(
    request: Request, installed: ActiveConfig, target: str, deadline: float
) -> Response:
    tape = EventRecorder()
    scrape = await while_connected(request, installed.targets.probe(target, deadline, tape))
    story = debug_report(tape, scrape)
    lines = exposition([installed.row(scrape)], Format.TEXT)
    return await text_response(request, "text/plain; charset=utf-8", chain(story, lines))


def _installed(request: Request) -> ActiveConfig:
    service: Service = request.app.state.service
    return service.installed
