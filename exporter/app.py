"""The exporter's HTTP side: which route goes where, and what an error looks like. The routes' own work is elsewhere."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse
from starlette.routing import Match
from starlette.types import ASGIApp

from exporter import pages
from exporter.http.auth import Authentication
from exporter.http.middleware import (
    ConcurrencyLimit,
    Cors,
    HeadAsGet,
    ScrapeFastPath,
    TooManyRequests,
)
from exporter.http.responses import Problem
from exporter.http.web_config import WebFile
from exporter.probe_policy import Denied
from exporter.routes import api, docpage, models, operation, scraping
from exporter.service import Service
from exporter.targets import BadAddress, UnknownTarget
from protocol.errors import Shortage
from smtpstatus.version import __version__

logger = logging.getLogger(__name__)


def create_app(
    service: Service,
    *,
    max_requests: int = 40,
    timeout_offset: float = 0.5,
    web: WebFile | None = None,
) -> ASGIApp:
    """The application over a service; `timeout_offset` is in seconds, `max_requests` 0 means any number."""
    app = FastAPI(
        title="smtpstatus exporter",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.timeout_offset = timeout_offset
    admission = ConcurrencyLimit(max_requests)
    service.own.in_flight.set_function(lambda: admission.taken)
    for router in (scraping.router, api.router, operation.router):
        app.include_router(router)
    app.router.routes.extend(pages.routes())
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    _describe(app)
    outer: ASGIApp = ScrapeFastPath(app, scraping.ENDPOINTS, admission, _ANSWERS)
    # The outermost is the first one asked: a preflight of CORS has no password to show at the gate.
    if web:
        outer = Authentication(outer, web, service.is_api_token)
    outer = HeadAsGet(Cors(outer, lambda: service.installed.config.api.cors_origins))
    return ServerErrorMiddleware(outer, handler=_failure)


def _describe(app: FastAPI) -> None:
    generate = app.openapi

    def described() -> dict[str, Any]:
        description = generate()
        components = description.setdefault("components", {})
        components["schemas"] = {"Problem": models.PROBLEM_SCHEMA}
        components["securitySchemes"] = {"api_token": {"type": "http", "scheme": "bearer"}}
        for operations in description["paths"].values():
            for one in operations.values():
                # FastAPI's own form of a 422, which no route here gives.
                if "HTTPValidationError" in str(one["responses"].get("422")):
                    del one["responses"]["422"]
        return description

    # FastAPI's documented way to extend the description.
    app.openapi = described  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        headers = {"Content-Security-Policy": docpage.CONTENT_SECURITY_POLICY}
        return HTMLResponse(docpage.page(described()), headers=headers)


def _problem(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return Problem(status, str(error)).response()

    return answer


async def _own_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _http_problem(request: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, or another method."""
    assert isinstance(error, HTTPException)
    if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(HTTPStatus(error.status_code), "there is no such page").response()
    allowed = ", ".join(sorted(_methods(request)))
    detail = f"{request.url.path} takes {allowed}"
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": allowed}).response()


def _methods(request: Request) -> set[str]:
    """What a path takes, by all its routes; the router's own answer knows of the first alone."""
    every = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}
    found = {
        method
        for method in every
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return found | {"HEAD"} if "GET" in found else found


async def _full(request: Request, error: Exception) -> Response:
    request.app.state.service.own.rejected.inc()
    headers = {"Retry-After": "1"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers).response()


async def _short(request: Request, error: Exception) -> Response:
    """The exporter could not ask: no target is reported down for that."""
    assert isinstance(error, Shortage)
    request.app.state.service.own.shortages.labels(error.resource.value).inc()
    logger.error("Request not carried out", extra={"path": request.url.path, "err": error})
    headers = {"Retry-After": "1"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers).response()


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)  # nobody is there to read it


async def _failure(request: Request, error: Exception) -> Response:
    """A defect: the log has the traceback, the answer has nothing of it."""
    detail = "the exporter failed; its log says why"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail).response()


_ANSWERS = {
    Problem: _own_problem,
    HTTPException: _http_problem,
    UnknownTarget: _problem(HTTPStatus.NOT_FOUND),
    BadAddress: _problem(HTTPStatus.BAD_REQUEST),
    Denied: _problem(HTTPStatus.FORBIDDEN),
    TooManyRequests: _full,
    Shortage: _short,
    ClientDisconnect: _gone,
}
