"""What orchestrators and operators ask: is it alive, is it ready, read the configuration again."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from exporter.http.problem import Problem
from exporter.routes import models
from exporter.service import Service
from smtpstatus.document import ConfigError

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


@router.post("/-/reload", responses=models.RELOAD)
async def reload(request: Request) -> str:
    """Read the configuration again; a bad one is refused, and the old one stays."""
    service: Service = request.app.state.service
    try:
        await service.reload()
    except ConfigError as error:
        raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from None
    return "Configuration loaded\n"
