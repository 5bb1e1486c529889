"""The REST API: what the targets say as JSON, and the switch."""

from hmac import compare_digest
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from exporter.config import Target
from exporter.problem import Problem, unanswered
from exporter.scraping import deadline_of
from exporter.service import Installed, Service
from exporter.targets import Scrape
from protocol import Command

router = APIRouter(prefix="/api/v1", tags=["targets"])

_LONGEST_BODY = 4096


class Transforms(BaseModel):
    """The state of a target's transforms, as the server says it."""

    target: str
    enabled: bool


class Switch(BaseModel):
    """The state that the transforms shall have."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool


@router.get("/targets")
async def targets(request: Request) -> dict[str, Any]:
    """Every configured target, asked now."""
    installed = _installed(request)
    scrapes = await installed.targets.read_all(deadline_of(request))
    return {"targets": [_state(installed, scrape) for scrape in scrapes]}


@router.get("/targets/{name}")
async def target(request: Request, name: str) -> dict[str, Any]:
    """One configured target, asked now."""
    installed = _installed(request)
    found = installed.targets.named(name)
    return _state(installed, await installed.targets.read(found, deadline_of(request)))


@router.get("/targets/{name}/transforms")
async def transforms(request: Request, name: str) -> Transforms:
    """Whether the server transforms mails."""
    installed = _installed(request)
    found = _switchable(installed, name)
    reading = await installed.targets.read_transforms(found, deadline_of(request))
    if reading.error:
        raise unanswered(reading.error)
    return Transforms(target=name, enabled=bool(reading[Command.TRANSFORMS]))


@router.put("/targets/{name}/transforms")
async def switch(request: Request, name: str) -> Transforms:
    """Switch the transforms; the answer is the state read back from the server."""
    installed = _installed(request)
    _authorize(installed, request.headers.get("authorization", ""))
    found = _switchable(installed, name)
    wanted = await _body(request)
    switched = await installed.targets.set_transforms(found, wanted.enabled, deadline_of(request))
    if switched.reading.error:
        raise unanswered(switched.reading.error)
    return Transforms(target=name, enabled=bool(switched.reading[Command.TRANSFORMS]))


def _installed(request: Request) -> Installed:
    service: Service = request.app.state.service
    return service.installed


def _authorize(installed: Installed, authorization: str) -> None:
    secret = installed.config.api.secret
    if secret is None:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "writing is not enabled: give the configuration an api: token_file:,"
            " or set SMTPSTATUS_API_TOKEN_FILE",
        )
    installed.targets.refresh_secrets()
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(
        given.strip().encode(), secret.text.encode()
    ):
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "writing takes the API token: Authorization: Bearer …",
            {"WWW-Authenticate": 'Bearer realm="smtpstatus exporter"'},
        )


def _switchable(installed: Installed, name: str) -> Target:
    found = installed.targets.named(name)
    if not found.dialect.can_switch:
        raise Problem(
            HTTPStatus.NOT_IMPLEMENTED,
            f"dialect {found.dialect.name} has no transforms to switch",
        )
    return found


async def _body(request: Request) -> Switch:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
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
        return Switch.model_validate_json(bytes(body))
    except ValidationError:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, 'the body must be {"enabled": true} or false'
        ) from None


def _state(installed: Installed, scrape: Scrape) -> dict[str, Any]:
    assert scrape.target is not None
    reading, dialect = scrape.reading, scrape.target.dialect
    always = (
        Command.CONNECTIONS,
        Command.ACTIVE_CONNECTIONS,
        Command.TRANSFERRED_BYTES,
        Command.TRANSFORMS,
    )
    commands = dict.fromkeys((*always, *dialect.reads))
    state: dict[str, Any] = {"target": scrape.target.name, "up": reading.error is None}
    state |= {command.value: reading.values.get(command) for command in commands}
    state["round_trip_seconds"] = min(reading.cost.round_trips, default=None)
    if reading.error:
        state |= {"error": str(reading.error), "reason": reading.error.reason.value}
    state |= {
        "address": scrape.address,
        "dialect": dialect.name,
        "labels": dict(scrape.target.labels),
        "can_switch": dialect.can_switch,
        "transforms_changed": installed.targets.changed.get(scrape.target.name),
    }
    return state
