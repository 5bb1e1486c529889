"""What the API's description shows: an example for every answer. A test asks for each and compares."""

from typing import Any

TARGET = "mail-1"

STATE: dict[str, Any] = {
    "target": TARGET,
    "up": True,
    "connections_total": 5,
    "active_connections": 0,
    "transferred_bytes_total": 51234,
    "transforms_enabled": True,
    "round_trip_seconds": 0.0004,
}
FACTS: dict[str, Any] = {
    "address": "127.0.0.1:7030",
    "dialect": "v0",
    "labels": {"site": "eu"},
    "can_switch": True,
    "transforms_changed": 1767225600.0,
    "last_probes": "/api/v1/targets/mail-1/probes",
}
TRANSFORMS = {"target": TARGET, "enabled": True}
PROBES = {
    "target": TARGET,
    "last": [
        {
            "at": 1767225600.0,
            "up": True,
            "seconds": 0.0007,
            "datagrams_sent": 4,
            "retransmissions": 0,
        }
    ],
    "failed": [],
}
SERVICE_DISCOVERY = [
    {
        "targets": ["exporter.example:17030"],
        "labels": {
            "__metrics_path__": "/probe",
            "__scheme__": "http",
            "__param_target": TARGET,
            "target": TARGET,
            "site": "eu",
        },
    }
]

_PROBLEMS = {
    400: ("Bad Request", "give target exactly once: a name, or host:port"),
    401: ("Unauthorized", "writing takes the API token: Authorization: Bearer …"),
    403: ("Forbidden", "writing is not enabled: give the configuration api: token_file:"),
    404: ("Not Found", "no target is called 'mail-9'"),
    413: ("Request Entity Too Large", "the body is too long"),
    415: ("Unsupported Media Type", "the body must be JSON: Content-Type: application/json"),
    422: ("Unprocessable Entity", 'the body must be {"enabled": true} or {"enabled": false}'),
    500: ("Internal Server Error", "config.yml:3: targets[0]: unknown key; did you mean labels?"),
    501: ("Not Implemented", "dialect group-11 has no transforms to switch"),
    502: ("Bad Gateway", "server returned: authentication failed"),
    503: ("Service Unavailable", "40 scrapes are under way, as many as --web.max-requests allows"),
    504: ("Gateway Timeout", "no answer within 2 s to 12 datagrams"),
}
_REASONS = {502: "authentication", 504: "timeout"}

Responses = dict[int | str, dict[str, Any]]


def _problems(*statuses: int) -> Responses:
    return {
        status: {
            "description": _PROBLEMS[status][0],
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": "about:blank",
                        "title": _PROBLEMS[status][0],
                        "status": status,
                        "detail": _PROBLEMS[status][1],
                        **({"reason": _REASONS[status]} if status in _REASONS else {}),
                    },
                }
            },
        }
        for status in statuses
    }


def _good(description: str, example: Any, media: str = "application/json") -> Responses:
    return {200: {"description": description, "content": {media: {"example": example}}}}


METRICS = _good("the text format", 'smtpstatus_up{target="mail-1"} 1.0\n', "text/plain")
METRICS |= _problems(400, 503)
PROBE_PARAMETERS = [
    {
        "name": "target",
        "in": "query",
        "required": True,
        "description": "a target's name, or host:port",
        "schema": {"type": "string", "examples": [TARGET]},
    },
    {
        "name": "debug",
        "in": "query",
        "description": "`true` tells the exchange in text",
        "schema": {"enum": ["true", "false"], "default": "false", "examples": ["true"]},
    },
]
PROBE = _good("the text format", "smtpstatus_up 1.0\n", "text/plain")
PROBE |= _problems(400, 403, 404, 503)
SD = _good("target groups", SERVICE_DISCOVERY)
TARGETS = _good("every target", {"targets": [STATE | FACTS]}) | _problems(400)
ONE_TARGET = _good("its state and counters", STATE) | _problems(400, 404)
LAST_PROBES = _good("oldest first", PROBES) | _problems(404)
READ_TRANSFORMS = _good("the state", TRANSFORMS) | _problems(404, 501, 502, 504)
SWITCH = _good("the state read back", TRANSFORMS) | _problems(
    401, 403, 404, 413, 415, 422, 501, 502, 504
)
RELOAD = _good("the new configuration is in use", "Configuration loaded\n", "text/plain")
RELOAD |= _problems(401, 403, 500)
READY = _good("a configuration is in use", "Ready\n", "text/plain") | _problems(503)
HEALTHY = _good("the process answers", "Healthy\n", "text/plain")

PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "why the server gave no answer to believe"},
    },
}

SWITCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["enabled"],
                    "additionalProperties": False,
                    "properties": {"enabled": {"type": "boolean"}},
                },
                "example": {"enabled": True},
            }
        },
    },
    "security": [{"api_token": []}],
}
