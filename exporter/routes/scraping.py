"""Routes for Prometheus: /metrics, /probe and /sd."""

from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import NamedTuple

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from exporter.exposition import Format, exposition
from exporter.http.disconnect import cancelled_on_disconnect
from exporter.http.responses import (
    LimitedResponse,
    Problem,
    short_response,
    text_format,
    text_response,
)
from exporter.routes import models
from exporter.routes.context import RouteContext, context_of
from exporter.routes.deadline import deadline_of
from exporter.routes.debugging import EventRecorder, debug_report

router = APIRouter(tags=["scraping"])

_CACHED_QUERIES = 1 << 14
"""Number of cached query strings: scrapers repeat the same ones."""
_CACHED_LENGTH = 512
_PARTS = ("exporter", "targets")


async def metrics(request: Request) -> Response:
    """The exporter's own metrics, and every configured target's; `collect[]` selects one part."""
    context = context_of(request)
    parts = _collected(QueryParams(request.scope["query_string"]))
    form = text_format(request.headers.get("accept", ""))
    own = context.service.own.registry if "exporter" in parts else None
    if "targets" not in parts:
        return await text_response(request, form.value, exposition(None, form, own))
    active = context.active
    deadline = deadline_of(request)
    with context.limits.waiting(active):
        with cancelled_on_disconnect(request):
            readings = await active.targets.read_all(deadline)

    async def render() -> Response:
        samples = active.samples(readings)
        return await text_response(request, form.value, exposition(samples, form, own))

    return LimitedResponse(context.limits, render)


async def probe(request: Request) -> Response:
    """One target's metrics, by its name or by an address that may be probed."""
    context = context_of(request)
    text = request.scope["query_string"]
    query = _query(text) if len(text) <= _CACHED_LENGTH else _parse_query(text)
    deadline = deadline_of(request)
    if query.debug:
        return await _debug(request, context, query.target, deadline)
    active = context.active
    with context.limits.waiting(query.target):
        with cancelled_on_disconnect(request):
            reading = await active.targets.probe(query.target, deadline)

    async def render() -> Response:
        form = text_format(request.headers.get("accept", ""))
        return short_response(form.value, "".join(exposition(active.sample(reading), form)))

    return LimitedResponse(context.limits, render)


ENDPOINTS = {"/metrics": metrics, "/probe": probe}
"""Not FastAPI's, whose dependencies and validation cost half of a probe's CPU."""


@router.get("/sd", responses=models.SD)
async def sd(request: Request) -> list[models.TargetGroup]:
    """The configured targets for Prometheus' http_sd_configs; they need no relabelling."""
    context = context_of(request)
    here = context.external_url(request)
    if not here.netloc:
        raise Problem(HTTPStatus.BAD_REQUEST, "the Host header is missing")
    common = {"__metrics_path__": f"{here.path.rstrip('/')}/probe", "__scheme__": here.scheme}
    return [
        models.TargetGroup(
            targets=[here.netloc],
            labels={
                **common,
                "__param_target": target.name,
                "target": target.name,
                **target.labels,
            },
        )
        for target in context.active.config.targets
    ]


class _Probe(NamedTuple):
    target: str
    debug: bool


def _parse_query(text: bytes) -> _Probe:
    """Raises `Problem`."""
    query = QueryParams(text)
    targets = query.getlist("target")
    if len(targets) != 1 or not targets[0]:
        raise Problem(HTTPStatus.BAD_REQUEST, "give target exactly once: a name, or host:port")
    debug = query.get("debug", "false")
    if debug not in ("true", "false"):
        raise Problem(HTTPStatus.BAD_REQUEST, "debug is true or false")
    return _Probe(targets[0], debug == "true")


_query = lru_cache(_CACHED_QUERIES)(_parse_query)


def _collected(query: QueryParams) -> set[str]:
    """The parts that a query selects: those of `collect[]`, or all. Raises `Problem`."""
    parts = set(query.getlist("collect[]"))
    if unknown := parts - set(_PARTS):
        detail = f"unknown collect[] {min(unknown)[:50]!r}: known are {' and '.join(_PARTS)}"
        raise Problem(HTTPStatus.BAD_REQUEST, detail)
    return parts or set(_PARTS)


async def _debug(
    request: Request, context: RouteContext, target: str, deadline: float
) -> Response:
    active = context.active
    recorder = EventRecorder()
    with context.limits.waiting(object()):
        with cancelled_on_disconnect(request):
            reading = await active.targets.probe(target, deadline, recorder)

    async def render() -> Response:
        report = debug_report(recorder, reading)
        lines = exposition(active.sample(reading), Format.TEXT)
        return await text_response(request, "text/plain; charset=utf-8", chain(report, lines))

    return LimitedResponse(context.limits, render)
