"""The REST API's documents: pydantic models for its JSON, and an example of each response.

A test sends every request of the description with its example and compares the response.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

TARGET = "mail-1"
NAME = r"^[^/\u0000-\u001f\u007f-\u009f]+$"
"""What a path can have as a target's name: other paths are unknown, or a bad request."""

Responses = dict[int | str, dict[str, Any]]


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    reason: str | None = Field(None, description="why the target gave no valid response")


class TargetState(BaseModel):
    """A target as it was read now. A counter is absent where the target's dialect does not have it."""

    target: str
    up: bool
    connections_total: int | None = None
    active_connections: int | None = None
    transferred_bytes_total: int | None = None
    transforms_enabled: bool | None = None
    mails_total: int | None = None
    sent_bytes_total: int | None = None
    received_bytes_total: int | None = None
    verbose_enabled: bool | None = None
    round_trip_seconds: float | None = Field(None, description="the shortest of this reading")
    error: str | None = Field(None, description="absent where the target is up")


class TargetDetails(TargetState):
    """A target's state, and further data of the exporter."""

    reason: str | None = Field(None, description="of the error, as in smtpstatus_scrape_error")
    address: str
    dialect: str
    labels: dict[str, str]
    can_switch: bool = Field(description="whether the dialect has transforms")
    transforms_changed: float | None = Field(
        description="when they were last changed through this exporter, in seconds since 1970"
    )
    last_probes: str = Field(description="the path of the target's last readings")


class TargetList(BaseModel):
    targets: list[TargetDetails]


class PastReading(BaseModel):
    """The outcome of a reading."""

    at: float = Field(description="in seconds since 1970")
    up: bool
    error: str | None = None
    reason: str | None = None
    seconds: float
    datagrams_sent: int
    retransmissions: int


class PastReadings(BaseModel):
    """The last readings and the last failures, oldest first."""

    target: str
    last: list[PastReading]
    failed: list[PastReading]


class Transforms(BaseModel):
    target: str
    enabled: bool


class TransformsRequest(BaseModel):
    """The state that the transforms are to have."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool


class TargetGroup(BaseModel):
    """A target group of Prometheus' http_sd_configs."""

    targets: list[str]
    labels: dict[str, str]


_STATE: dict[str, Any] = {
    "target": TARGET,
    "up": True,
    "connections_total": 5,
    "active_connections": 0,
    "transferred_bytes_total": 51234,
    "transforms_enabled": True,
    "round_trip_seconds": 0.0004,
}
_DETAILS: dict[str, Any] = {
    "address": "127.0.0.1:7030",
    "dialect": "v0",
    "labels": {"site": "eu"},
    "can_switch": True,
    "transforms_changed": 1767225600.0,
    "last_probes": "/api/v1/targets/mail-1/probes",
}
_PAST_READING = {
    "at": 1767225600.0,
    "up": True,
    "seconds": 0.0007,
    "datagrams_sent": 4,
    "retransmissions": 0,
}
_TARGET_GROUP = {
    "targets": ["exporter.example:17030"],
    "labels": {
        "__metrics_path__": "/probe",
        "__scheme__": "http",
        "__param_target": TARGET,
        "target": TARGET,
        "site": "eu",
    },
}
_CONFIGURATION = """\
# loaded 2026-11-26T01:02:03Z from /etc/smtpstatus/exporter.yml
timeout: 2s
"""
_PROBLEMS = {
    400: ("Bad Request", "give target exactly once: a name, or host:port"),
    401: ("Unauthorized", "writing requires the API token: Authorization: Bearer TOKEN"),
    403: ("Forbidden", "writing is not enabled: set api: token_file: in the configuration"),
    404: ("Not Found", "no target is called 'mail-9'"),
    413: ("Request Entity Too Large", "the body is too long"),
    415: ("Unsupported Media Type", "the body must be JSON: Content-Type: application/json"),
    422: ("Unprocessable Entity", 'the body must be {"enabled": true} or {"enabled": false}'),
    500: ("Internal Server Error", "config.yml:3: targets[0]: unknown key: did you mean labels?"),
    501: ("Not Implemented", "dialect group-11 has no transforms"),
    502: ("Bad Gateway", "server returned: authentication failed"),
    503: (
        "Service Unavailable",
        "40 requests are in progress, as many as --web.max-requests allows",
    ),
    504: ("Gateway Timeout", "no valid response within 2 s to 12 datagrams"),
}
_UNKNOWN_PART = "unknown collect[] 'target': known are exporter and targets"
_REASONS = {502: "authentication", 504: "timeout"}


def _problems(*statuses: int, details: Mapping[int, str] = MappingProxyType({})) -> Responses:
    """Responses that are errors; `details` are examples in place of the usual ones."""
    return {
        status: {
            "description": _PROBLEMS[status][0],
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                    "example": {
                        "type": "about:blank",
                        "title": _PROBLEMS[status][0],
                        "status": status,
                        "detail": details.get(status, _PROBLEMS[status][1]),
                        **({"reason": _REASONS[status]} if status in _REASONS else {}),
                    },
                }
            },
        }
        for status in statuses
    }


def _good(description: str, example: Any, media: str = "application/json") -> Responses:
    return {200: {"description": description, "content": {media: {"example": example}}}}


SD = _good("target groups", [_TARGET_GROUP]) | _problems(400)
TARGETS = _good("every target", {"targets": [_STATE | _DETAILS]}) | _problems(400, 503)
ONE_TARGET = _good("the target's state and counters", _STATE) | _problems(400, 404, 503)
PAST_READINGS = _good(
    "the last readings", {"target": TARGET, "last": [_PAST_READING], "failed": []}
) | _problems(400, 404)
_TRANSFORMS = {"target": TARGET, "enabled": True}
READ_TRANSFORMS = _good("their state", _TRANSFORMS) | _problems(400, 404, 501, 502, 503, 504)
SWITCH = _good("the state read back from the server", _TRANSFORMS) | _problems(
    400, 401, 403, 404, 413, 415, 422, 501, 502, 503, 504
)
CONFIGURATION = _good("the configuration as YAML", _CONFIGURATION, "text/plain") | _problems(503)
RELOAD = _good("the new configuration is in use", "Configuration loaded\n", "text/plain")
RELOAD |= _problems(401, 403, 500)
READY = _good("a configuration is in use", "Ready\n", "text/plain") | _problems(503)
HEALTHY = _good("the process answers", "Healthy\n", "text/plain")

SECURITY: dict[str, Any] = {"security": [{"api_token": []}]}
SWITCH_BODY = SECURITY | {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/TransformsRequest"},
                "example": {"enabled": True},
            }
        },
    },
}


def _operation(description: str, parameters: list[dict[str, Any]], example: str) -> dict[str, Any]:
    return {
        "get": {
            "tags": ["scraping"],
            "description": description,
            "parameters": parameters,
            "responses": {
                str(status): response
                for status, response in (
                    _good("the text format", example, "text/plain")
                    | _problems(400, 503, details={400: _UNKNOWN_PART})
                ).items()
            },
        }
    }


SCRAPE_PATHS = {
    "/metrics": _operation(
        "The exporter's own metrics, and every configured target's.",
        [
            {
                "name": "collect[]",
                "in": "query",
                "description": "one part only; repeatable",
                "schema": {"enum": ["exporter", "targets"], "examples": ["targets"]},
            }
        ],
        'smtpstatus_up{target="mail-1"} 1.0\n',
    ),
    "/probe": _operation(
        "One target's metrics, by its name or by an address that may be probed.",
        [
            {
                "name": "target",
                "in": "query",
                "required": True,
                "description": "a target's name, or host:port",
                "schema": {"type": "string", "minLength": 1, "examples": [TARGET]},
            },
            {
                "name": "debug",
                "in": "query",
                "description": "`true` reports every datagram as text",
                "schema": {"enum": ["true", "false"], "default": "false", "examples": ["true"]},
            },
        ],
        "smtpstatus_up 1.0\n",
    ),
}
"""The description of the paths that Starlette routes before FastAPI."""
SCRAPE_PATHS["/probe"]["get"]["responses"] |= {
    str(status): response for status, response in _problems(400, 403, 404).items()
}
