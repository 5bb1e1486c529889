"""The REST API: what the targets say as JSON, and the switch."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from exporter.audit import AuditRecord, client_of
from exporter.configuration.config import Target
from exporter.history import Entry
from exporter.http.auth import BEARER, bearer_token
from exporter.http.disconnect import cut_short, while_connected
from exporter.http.responses import Problem, json_list, text_response
from exporter.routes import models
from exporter.routes.scraping import deadline_of
from exporter.service import ActiveConfig, Service
from exporter.targets import TargetReading, UnknownTarget
from protocol.dialects import V0
from protocol.errors import FailureReason, NoReading, Shortage
from protocol.vocabulary import Command

router = APIRouter(prefix="/api/v1", tags=["targets"])

Name = Annotated[str, Path(description="the target's name", examples=[models.TARGET])]

_ALWAYS = tuple(command.value for command in V0.reads)
"""What every state in the list has, so that a table needs no guess: null where the dialect has no such command."""
_LONGEST_BODY = 4096


class Switch(BaseModel):
    """The state that the transforms shall have."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool


@router.get("/targets", responses=models.TARGETS, response_class=Response)
async def targets(request: Request) -> Response:
    """Every configured target, asked now: its state, and what is known of it besides."""
    installed = _service(request).installed
    reading = installed.targets.read_all(deadline_of(request))
    scrapes = await while_connected(request, reading)
    absent = dict.fromkeys(_ALWAYS)
    states = (absent | _state(scrape) | _facts(installed, scrape) for scrape in scrapes)
    return await text_response(request, "application/json", json_list("targets", states))


@router.get("/targets/{name}", responses=models.ONE_TARGET)
async def target(request: Request, name: Name) -> dict[str, Any]:
    """One configured target, asked now. The keys are those of `smtpstatus get --json`."""
    installed = _service(request).installed
    found = _named(installed, name)
    reading = installed.targets.read(found, deadline_of(request))
    return _state(await while_connected(request, reading))


@router.get("/targets/{name}/probes", responses=models.LAST_PROBES)
async def probes(request: Request, name: Name) -> dict[str, Any]:
    """What became of the last readings of a target, and of the last ones that failed; nobody is asked."""
    service = _service(request)
    _named(service.installed, name)
    return {
        "target": name,
        "last": [_probe(entry) for entry in service.history.last(name)],
        "failed": [_probe(entry) for entry in service.history.failed(name)],
    }


@router.get("/targets/{name}/transforms", responses=models.READ_TRANSFORMS)
async def transforms(request: Request, name: Name) -> dict[str, Any]:
    """Whether the server transforms mails, asked now."""
    installed = _service(request).installed
    found = _switchable(_named(installed, name))
    asking = installed.targets.read_transforms(found, deadline_of(request))
    reading = await while_connected(request, asking)
    if reading.error:
        raise _unanswered(reading.error)
    return {"target": name, "enabled": reading[Command.TRANSFORMS]}


@router.put(
    "/targets/{name}/transforms", responses=models.SWITCH, openapi_extra=models.SWITCH_BODY
)
async def switch(request: Request, name: Name) -> dict[str, Any]:
    """Switch the transforms; the answer is the state read back from the server."""
    service = _service(request)
    write = AuditRecord(client_of(request), name)
    try:
        with cut_short():
            enabled = await _switch(request, service, write)
    except Problem as problem:
        write.tell(service.own, problem)
        raise
    write.tell(service.own, None)
    return {"target": name, "enabled": enabled}


async def _switch(request: Request, service: Service, write: AuditRecord) -> bool:
    """Raises `Problem`, and has then written down in `write` what was known."""
    installed = service.installed
    await _authorize(service, bearer_token(request))
    found = _named(installed, write.target)
    write.wanted = wanted = await _body(request)
    try:
        switched = await installed.targets.set_transforms(
            _switchable(found), wanted, deadline_of(request)
        )
    except Shortage as shortage:
        service.own.shortages.labels(shortage.resource.value).inc()
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(shortage)) from None
    write.before = switched.before
    if switched.reading.error:
        raise _unanswered(switched.reading.error)
    return bool(switched.reading[Command.TRANSFORMS])


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _named(installed: ActiveConfig, name: str) -> Target:
    try:
        return installed.targets.named(name)
    except UnknownTarget as error:
        raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None


async def _authorize(service: Service, token: str | None) -> None:
    if service.installed.config.api.secret is None:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "writing is not enabled: give the configuration api: token_file:,"
            " or set SMTPSTATUS_API_TOKEN_FILE where there is none",
        )
    if token is None or not await service.is_api_token(token):
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "writing takes the API token: Authorization: Bearer …",
            {"WWW-Authenticate": BEARER},
        )


def _unanswered(error: NoReading) -> Problem:
    """The problem of a server that refused, or could not be reached, or did not answer."""
    silent = error.reason is FailureReason.TIMEOUT
    status = HTTPStatus.GATEWAY_TIMEOUT if silent else HTTPStatus.BAD_GATEWAY
    return Problem(status, str(error), reason=error.reason.value)


def _switchable(target: Target) -> Target:
    if not target.dialect.can_switch:
        raise Problem(
            HTTPStatus.NOT_IMPLEMENTED,
            f"dialect {target.dialect.name} has no transforms to switch",
        )
    return target


async def _body(request: Request) -> bool:
    """What a body of `{"enabled": true}` or false says; nothing else will do."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON: Content-Type: application/json",
        )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
    try:
        return Switch.model_validate_json(bytes(body)).enabled
    except ValidationError:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            'the body must be {"enabled": true} or {"enabled": false}',
        ) from None


def _state(scrape: TargetReading) -> dict[str, Any]:
    assert scrape.target is not None
    reading = scrape.reading
    trip = min(reading.cost.round_trips, default=None)
    return {
        "target": scrape.target.name,
        "up": reading.error is None,
        **{command.value: reading.values.get(command) for command in scrape.dialect.reads},
        "round_trip_seconds": trip and round(trip, 6),
        **({"error": str(reading.error)} if reading.error else {}),
    }


def _facts(installed: ActiveConfig, scrape: TargetReading) -> dict[str, Any]:
    assert scrape.target is not None
    name, error = scrape.target.name, scrape.reading.error
    return {
        **({"reason": error.reason.value} if error else {}),
        "address": str(scrape.where),
        "dialect": scrape.dialect.name,
        "labels": dict(scrape.target.labels),
        "can_switch": scrape.dialect.can_switch,
        "transforms_changed": installed.targets.changed(scrape.target),
        "last_probes": f"{router.prefix}/targets/{quote(name, safe='')}/probes",
    }


def _probe(entry: Entry) -> dict[str, Any]:
    known = {key: value for key, value in entry._asdict().items() if value is not None}
    return {"up": entry.error is None, **known}
