"""Health, readiness, the configuration in use, and its reload."""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from exporter.configuration.secret import Secret
from exporter.http.auth import BEARER, bearer_token
from exporter.http.responses import LimitedResponse, Problem, text_response
from exporter.routes import models
from exporter.routes.context import RouteContext, context_of
from exporter.service import Service
from protocol.dialect import Dialect
from smtpstatus.dialects import summary
from smtpstatus.errors import ConfigError

router = APIRouter(tags=["operation"], default_response_class=PlainTextResponse)


@router.get("/-/healthy", responses=models.HEALTHY)
async def healthy() -> str:
    """Whether the process answers."""
    return "Healthy\n"


@router.get("/-/ready", responses=models.READY)
async def ready(request: Request) -> str:
    """Whether a configuration is in use and the exporter is not shutting down."""
    if not context_of(request).service.ready:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "starting, or shutting down")
    return "Ready\n"


@router.get("/config", responses=models.CONFIGURATION, response_class=Response)
async def config(request: Request) -> Response:
    """The configuration in use as YAML, with `<secret>` for every secret."""
    context = context_of(request)

    async def render() -> Response:
        return await text_response(request, "text/plain; charset=utf-8", _yaml(context))

    return LimitedResponse(context.limits, render)


@router.post("/-/reload", responses=models.RELOAD, openapi_extra=models.SECURITY)
async def reload(request: Request) -> str:
    """Reload the configuration. If it is invalid, the previous one stays in use.

    Requires the API token or, where it is configured, basic authentication. Where neither is
    configured, only requests from this host are accepted.
    """
    service = context_of(request).service
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
            "reloading requires the API token: Authorization: Bearer TOKEN",
            {"WWW-Authenticate": BEARER},
        )
    if not _is_local(request):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "reloading is accepted only from this host: configure an API token or basic authentication",
        )


def _is_local(request: Request) -> bool:
    """Whether the client is on this host, and is not a proxy for another client."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    return request.client is None or ipaddress.ip_address(request.client.host).is_loopback


def _yaml(context: RouteContext) -> Iterator[str]:
    """The configuration, a string per target: strings are quoted as in JSON, which YAML includes."""
    active = context.active
    config = active.config
    sources = ", ".join(context.options.sources)
    loaded = datetime.fromtimestamp(active.loaded_at, UTC).isoformat(timespec="seconds")
    yield f"# loaded {loaded.replace('+00:00', 'Z')} from {_plain(sources)}\n"
    yield f"timeout: {config.timeout:g}s\nattempts: {config.attempts}\n"
    yield f"targets:{'' if config.targets else ' []'}\n"
    for target in config.targets:
        keys = {"name": json.dumps(target.name), "address": json.dumps(str(target.address))}
        labels = {name: json.dumps(value) for name, value in target.labels.items()}
        yield _item(keys, target.secret, target.dialect, {"labels": _flow(labels)})
    yield f"probe:{'' if config.probe else ' []'}\n"
    for rule in config.probe:
        networks = json.dumps([str(network) for network in rule.networks])
        ports = [f"{some[0]}-{some[-1]}" if len(some) > 1 else some[0] for some in rule.ports]
        more = {"ports": json.dumps(ports)} if ports else {}
        yield _item({"networks": networks}, rule.secret, rule.dialect, more)
    yield "api:\n"
    if config.api.secret:
        yield f"  token: <secret>{_origin(config.api.secret)}\n"
    yield f"  cors_origins: {json.dumps(config.api.cors_origins)}\n"
    for dialect in config.dialects:
        yield f"# dialect {_plain(dialect.name)}: {_plain(summary(dialect))}\n"


def _item(
    keys: Mapping[str, str], secret: Secret, dialect: Dialect, more: Mapping[str, str]
) -> str:
    token = {"token": "<secret>", "dialect": json.dumps(dialect.name)}
    return f"  - {_flow({**keys, **token, **more})}{_origin(secret)}\n"


def _flow(keys: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}"


def _origin(secret: Secret) -> str:
    return f"  # token from {_plain(secret.origin)}" if secret.origin else ""


def _plain(text: str) -> str:
    """Returns the text on one line, as file names may contain newlines."""
    return "".join(character if character.isprintable() else "?" for character in text)
