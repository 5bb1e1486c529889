"""The exporter's HTTP application: routes, middleware, and the responses to errors."""

import json
import logging
import time
from functools import cache
from http import HTTPStatus
from threading import Lock
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from exporter import pages
from exporter.http.auth import Authentication
from exporter.http.limits import RequestLimits, TooManyRequests
from exporter.http.middleware import (
    Cors,
    Forwarded,
    Handler,
    HeadAsGet,
    Paths,
    ScrapeFastPath,
)
from exporter.http.responses import ChunkedBody, Problem
from exporter.http.web_file import WebFile
from exporter.probe_policy import Denied
from exporter.routes import api, docpage, models, operation, scraping
from exporter.routes.context import HttpOptions, RouteContext, context_of
from exporter.service import Service
from exporter.targets import BadAddress, UnknownTarget
from protocol.errors import Shortage
from smtpstatus.version import __version__

logger = logging.getLogger(__name__)


def create_app(
    service: Service, options: HttpOptions | None = None, web: WebFile | None = None
) -> ASGIApp:
    """The application over a service."""
    http = options or HttpOptions()
    limits = RequestLimits(
        http.max_requests, lambda: http.most_waiting(len(service.installed.config.targets))
    )
    service.own.in_flight.set_function(lambda: limits.in_flight)
    context = RouteContext(service, http, limits)
    described = _described(context)
    middleware = [
        *([Middleware(Forwarded, http.trusted_proxies)] if http.trusted_proxies else []),
        Middleware(Paths, http.route_prefix),
        Middleware(HeadAsGet),
        # Before authentication: a CORS preflight has no password.
        Middleware(Cors, lambda: service.installed.config.api.cors_origins),
    ]
    if web:
        middleware.append(Middleware(Authentication, web, service.is_api_token))
    expected = {
        kind: handler
        for kind, handler in _HANDLERS.items()
        if isinstance(kind, type) and kind is not Exception
    }
    middleware.append(Middleware(ScrapeFastPath, scraping.ENDPOINTS, expected))
    app = Starlette(
        routes=[
            *(Route(path, endpoint) for path, endpoint in scraping.ENDPOINTS.items()),
            *pages.routes(),
        ],
        middleware=middleware,
        exception_handlers=_HANDLERS,
    )
    app.router.default = described
    app.router.redirect_slashes = False
    app.state.context = context
    return app


def _described(context: RouteContext) -> FastAPI:
    """The routes that FastAPI serves, and the description of all."""
    app = FastAPI(
        title="smtpstatus exporter",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=_HANDLERS,
    )
    app.state.context = context
    for router in (scraping.router, api.router, operation.router):
        app.include_router(router)
    lock = Lock()

    @cache
    def documents() -> tuple[bytes, bytes]:
        description = _description(app)
        return json.dumps(description).encode(), docpage.page(description).encode()

    def document(number: int) -> bytes:
        """The description, or its page. It takes a third of the time that the exporter needs to start otherwise."""
        with lock:  # several first requests must not occupy a thread each
            return documents()[number]

    # FastAPI calls functions that are not coroutines in a thread.
    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> Response:
        return ChunkedBody(document(0), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        headers = {"Content-Security-Policy": docpage.CONTENT_SECURITY_POLICY}
        return ChunkedBody(document(1), headers=headers, media_type="text/html; charset=utf-8")

    return app


def _description(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the paths that Starlette routes and without FastAPI's own 422."""
    description = app.openapi()
    schemas = description["components"]["schemas"]
    for model in (models.ProblemDocument, models.TransformsRequest):
        schemas[model.__name__] = model.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    description["components"]["securitySchemes"] = {
        "api_token": {"type": "http", "scheme": "bearer"}
    }
    description["paths"] = {**models.SCRAPE_PATHS, **description["paths"]}
    for operations in description["paths"].values():
        for one in operations.values():
            if "HTTPValidationError" in str(one["responses"].get("422")):
                del one["responses"]["422"]
    return description


def _problem(status: HTTPStatus) -> Handler:
    async def answer(request: Request, error: Exception) -> Response:
        return Problem(status, str(error)).response()

    return answer


async def _own_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")


async def _http_problem(request: Request, error: Exception) -> Response:
    """Responds to requests that the routers reject: an unknown path or method."""
    assert isinstance(error, HTTPException)
    if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(HTTPStatus(error.status_code), "not found").response()
    # The router names the methods of the first route alone.
    methods = {
        method
        for method in _METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    allowed = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
    detail = f"{request.url.path} allows {allowed}"
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": allowed}).response()


async def _too_many(request: Request, error: Exception) -> Response:
    context_of(request).service.own.rejected.inc()
    headers = {"Retry-After": "1"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers).response()


async def _shortage(request: Request, error: Shortage) -> Response:
    """Responds 503 to a shortage of the exporter, which is not a failure of any target.

    Each is counted; one line per resource and minute is logged.
    """
    context = context_of(request)
    context.service.own.shortages.labels(error.resource.value).inc()
    repeated = context.shortages.repeated(error.resource.value, time.monotonic())
    if repeated is not None:
        extra = {"path": request.url.path[:200], "err": error, "repeated": repeated}
        logger.error("Request failed", extra=extra)
    headers = {"Retry-After": "1"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers).response()


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)  # the client has disconnected


async def _internal_error(request: Request, error: Exception) -> Response:
    """Responds 500 to a defect: the traceback is only logged."""
    detail = "internal error; see the exporter's log"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail).response()


_HANDLERS: dict[int | type[Exception], Handler] = {
    Problem: _own_problem,
    HTTPException: _http_problem,
    UnknownTarget: _problem(HTTPStatus.NOT_FOUND),
    BadAddress: _problem(HTTPStatus.BAD_REQUEST),
    Denied: _problem(HTTPStatus.FORBIDDEN),
    TooManyRequests: _too_many,
    Shortage: _shortage,
    ClientDisconnect: _disconnected,
    Exception: _internal_error,
}
