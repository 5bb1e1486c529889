"""The exporter's HTTP side: routes, nothing else."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from exporter import api, scraping
from exporter.admission import Admission, Full
from exporter.document import ConfigError
from exporter.head import Head
from exporter.problem import Problem
from exporter.service import Service
from exporter.targets import BadAddress, Denied, UnknownTarget


def create_app(
    service: Service, *, max_requests: int = 40, timeout_offset: float = 0.5
) -> FastAPI:
    """The application over a service; `timeout_offset` is in seconds."""
    app = FastAPI(title="smtpstatus exporter", docs_url=None, redoc_url=None)
    app.state.service = service
    app.state.admission = Admission(max_requests)
    app.state.timeout_offset = timeout_offset
    app.include_router(scraping.router)
    app.include_router(api.router)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(Head)

    @app.get("/-/healthy", tags=["operation"])
    def healthy() -> PlainTextResponse:
        """Whether the process answers."""
        return PlainTextResponse("Healthy\n")

    @app.get("/-/ready", tags=["operation"])
    def ready() -> PlainTextResponse:
        """Whether a configuration is in use and the exporter is not shutting down."""
        if not service.ready:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "starting or shutting down")
        return PlainTextResponse("Ready\n")

    @app.post("/-/reload", tags=["operation"])
    async def reload() -> PlainTextResponse:
        """Read the configuration again; a bad one is refused and the old one stays."""
        try:
            await service.reload()
        except ConfigError as error:
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from None
        return PlainTextResponse("Configuration loaded\n")

    return app


def _problem(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return Problem(status, str(error)).response()

    return answer


async def _own_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return Problem(status, f"{request.method} {request.url.path}", error.headers).response()


_ANSWERS = {
    Problem: _own_problem,
    HTTPException: _http_problem,
    UnknownTarget: _problem(HTTPStatus.NOT_FOUND),
    BadAddress: _problem(HTTPStatus.BAD_REQUEST),
    Denied: _problem(HTTPStatus.FORBIDDEN),
    Full: _problem(HTTPStatus.SERVICE_UNAVAILABLE),
    Exception: _problem(HTTPStatus.INTERNAL_SERVER_ERROR),
}
