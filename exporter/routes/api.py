"""The REST API: the targets as JSON, and their transforms."""

from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import ValidationError

from exporter.audit import AuditRecord, client_of
from exporter.configuration.config import Target
from exporter.history import Entry
from exporter.http.auth import BEARER, bearer_token
from exporter.http.disconnect import cancelled_on_disconnect, shutdown_as_problem
from exporter.http.limits import TooManyRequests
from exporter.http.responses import LimitedResponse, Problem, json_list, text_response
from exporter.reading import TargetReading
from exporter.routes import models
from exporter.routes.context import RouteContext, context_of
from exporter.routes.deadline import deadline_of
from exporter.service import ActiveConfig, Service
from exporter.targets import UnknownTarget
from protocol.dialects import V0
from protocol.errors import FailureReason, NoReading, Shortage
from protocol.vocabulary import Command

router = APIRouter(prefix="/api/v1", tags=["targets"])

Name = Annotated[
    str,
    Path(
        description="the target's name",
        examples=[models.TARGET],
        json_schema_extra={"pattern": models.NAME},
    ),
]
Context = Annotated[RouteContext, Depends(context_of)]

_LISTED = ("target", "up", *(command.value for command in V0.reads))
"""What every target in the list has, in this order: null where its dialect has no such command."""
_LONGEST_BODY_BYTES = 4096


@router.get("/targets", responses=models.TARGETS, response_model=models.TargetList)
async def targets(request: Request, context: Context) -> Response:
    """Every configured target, read now."""
    active = context.active
    deadline = deadline_of(request)
    with context.limits.waiting(active):
        with cancelled_on_disconnect(request):
            readings = await active.targets.read_all(deadline)

    def documents() -> Iterator[dict[str, Any]]:
        absent = dict.fromkeys(_LISTED)
        for reading in readings:
            yield absent | _state(reading) | _details(active, reading)

    async def render() -> Response:
        return await text_response(request, "application/json", json_list("targets", documents()))

    return LimitedResponse(context.limits, render)


@router.get(
    "/targets/{name}",
    responses=models.ONE_TARGET,
    response_model=models.TargetState,
    response_model_exclude_unset=True,
)
async def target(request: Request, context: Context, name: Name) -> dict[str, Any]:
    """One configured target, read now. The keys are those of `smtpstatus get --json`."""
    active = context.active
    found = _named(active, name)
    deadline = deadline_of(request)
    with context.limits.waiting(name):
        with cancelled_on_disconnect(request):
            return _state(await active.targets.read(found, deadline))


@router.get(
    "/targets/{name}/probes",
    responses=models.PAST_READINGS,
    response_model=models.PastReadings,
    response_model_exclude_unset=True,
)
async def probes(context: Context, name: Name) -> dict[str, Any]:
    """A target's last readings and last failures; the target is not read."""
    _named(context.active, name)
    history = context.service.history
    return {
        "target": name,
        "last": [_past(entry) for entry in history.last(name)],
        "failed": [_past(entry) for entry in history.failed(name)],
    }


@router.get(
    "/targets/{name}/transforms",
    responses=models.READ_TRANSFORMS,
    response_model=models.Transforms,
)
async def transforms(request: Request, context: Context, name: Name) -> dict[str, Any]:
    """Whether the server's transforms are enabled, read now."""
    active = context.active
    found = _with_transforms(_named(active, name))
    deadline = deadline_of(request)
    with context.limits.waiting(("transforms", name)):
        with cancelled_on_disconnect(request):
            reading = await active.targets.read_transforms(found, deadline)
    if reading.error:
        raise _no_reading(reading.error)
    return {"target": name, "enabled": reading[Command.TRANSFORMS]}


@router.put(
    "/targets/{name}/transforms",
    responses=models.SWITCH,
    response_model=models.Transforms,
    openapi_extra=models.SWITCH_BODY,
)
async def switch(request: Request, context: Context, name: Name) -> Response | dict[str, Any]:
    """Enable or disable the transforms; the response is the state read back from the server."""
    record = await _switch(request, context, AuditRecord(client_of(request), name))
    record.log(context.service.own, context.denied)
    if record.problem:
        # Raised, it would be in a cycle with this frame, and garbage until the next collection.
        return record.problem.response()
    return {"target": name, "enabled": record.after}


async def _switch(request: Request, context: RouteContext, record: AuditRecord) -> AuditRecord:
    """The record with its outcome. A client that disconnects does not cancel a write."""
    active = context.active
    try:
        with shutdown_as_problem():
            await _authorize(context.service, bearer_token(request))
            found = _named(active, record.target)
            wanted = await _body(request)
            record = replace(record, wanted=wanted)
            deadline = deadline_of(request)
            with context.limits.waiting(object()):
                switched = await active.targets.set_transforms(
                    _with_transforms(found), wanted, deadline
                )
            record = replace(record, before=switched.before)
            if switched.reading.error:
                raise _no_reading(switched.reading.error)
            return replace(record, after=bool(switched.reading[Command.TRANSFORMS]))
    except Shortage as error:
        context.service.own.shortages.labels(error.resource.value).inc()
        return replace(record, problem=Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
    except TooManyRequests as error:
        return replace(record, problem=Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
    except Problem as problem:
        return replace(record, problem=problem)


def _named(active: ActiveConfig, name: str) -> Target:
    try:
        return active.targets.named(name)
    except UnknownTarget as error:
        raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None


async def _authorize(service: Service, token: str | None) -> None:
    if service.installed.config.api.secret is None:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "writing is not enabled: set api: token_file: in the configuration,"
            " or SMTPSTATUS_API_TOKEN_FILE without a configuration file",
        )
    if token is None or not await service.is_api_token(token):
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "writing requires the API token: Authorization: Bearer TOKEN",
            {"WWW-Authenticate": BEARER},
        )


def _no_reading(error: NoReading) -> Problem:
    """502 for a server that refused or cannot be reached, 504 for one that did not answer, 500 for a defect here."""
    status = {
        FailureReason.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
        FailureReason.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    }.get(error.reason, HTTPStatus.BAD_GATEWAY)
    return Problem(status, str(error), reason=error.reason.value)


def _with_transforms(target: Target) -> Target:
    if not target.dialect.can_switch:
        raise Problem(
            HTTPStatus.NOT_IMPLEMENTED, f"dialect {target.dialect.name} has no transforms"
        )
    return target


async def _body(request: Request) -> bool:
    """The state in a body of `{"enabled": true}` or false; nothing else is accepted."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON: Content-Type: application/json",
        )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY_BYTES:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
    try:
        return models.TransformsRequest.model_validate_json(bytes(body)).enabled
    except ValidationError:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            'the body must be {"enabled": true} or {"enabled": false}',
        ) from None


def _state(found: TargetReading) -> dict[str, Any]:
    assert found.target is not None
    reading = found.reading
    trip = min(reading.cost.round_trips, default=None)
    return {
        "target": found.target.name,
        "up": reading.error is None,
        **{command.value: reading.values.get(command) for command in found.dialect.reads},
        "round_trip_seconds": None if trip is None else round(trip, 6),
        **({"error": str(reading.error)} if reading.error else {}),
    }


def _details(active: ActiveConfig, found: TargetReading) -> dict[str, Any]:
    assert found.target is not None
    name, error = found.target.name, found.reading.error
    return {
        **({"reason": error.reason.value} if error else {}),
        "address": str(found.where),
        "dialect": found.dialect.name,
        "labels": dict(found.target.labels),
        "can_switch": found.dialect.can_switch,
        "transforms_changed": active.targets.changed(found.target),
        "last_probes": f"{router.prefix}/targets/{quote(name, safe='')}/probes",
    }


def _past(entry: Entry) -> dict[str, Any]:
    known = {key: value for key, value in entry._asdict().items() if value is not None}
    return {"up": entry.error is None, **known}
