"""Health, readiness and reload, for orchestrators and operators."""

import ipaddress
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from exporter.http.auth import BEARER, bearer_token
from exporter.http.responses import Problem
from exporter.routes import models
from exporter.service import Service
from smtpstatus.errors import ConfigError

router = APIRouter(tags=["operation"], default_response_class=PlainTextResponse)


@router.get("/-/healthy", responses=models.HEALTHY)
async def healthy() -> str:
    """Whether the process answers."""
    return "Healthy\n"


@router.get("/-/ready", responses=models.READY)
async def ready(request: Request) -> str:
    """Whether a configuration is in use and the exporter is not shutting down."""
    service: Service = request.app.state.service
    if not service.ready:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "starting, or shutting down")
    return "Ready\n"


@router.post("/-/reload", responses=models.RELOAD, openapi_extra={"security": [{"api_token": []}]})
async def reload(request: Request) -> str:
    """Reload the configuration. If it is invalid, the previous one stays in use.

    Requires the API token or, where it is configured, basic authentication. Where neither is
    configured, only requests from this host are accepted.
    """
    service: Service = request.app.state.service
    await _authorize(request, service)
    try:
        await service.reload()
    except ConfigError as error:
        raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from None
    return "Configuration loaded\n"


async def _authorize(request: Request, service: Service) -> None:
    """Raises `Problem` unless the client may reload."""
    token = bearer_token(request)
    if token is not None and await service.is_api_token(token):
        return
    # A browser adds Origin to every POST of a web page, and basic credentials and loopback
    # addresses come with the browser, not with the user's intent.
    if "origin" in request.headers:
        raise Problem(HTTPStatus.FORBIDDEN, "web pages may reload only with the API token")
    if request.scope.get("user"):
        return
    if service.installed.config.api.secret is not None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "reloading requires the API token: Authorization: Bearer …",
            {"WWW-Authenticate": BEARER},
        )
    if not _is_local(request):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "reloading is accepted only from this host: configure an API token or basic authentication",
        )


def _is_local(request: Request) -> bool:
    """Whether the client is on this host, and not a proxy that speaks for another one."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    return request.client is None or ipaddress.ip_address(request.client.host).is_loopback
