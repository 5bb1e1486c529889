"""Who switched what: a line in the log for every request to write, and a metric."""

import logging
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request

from exporter.http.responses import Problem
from exporter.metrics import ExporterMetrics

logger = logging.getLogger(__name__)

_OUTCOMES = {
    HTTPStatus.UNAUTHORIZED: "denied",
    HTTPStatus.FORBIDDEN: "denied",
    HTTPStatus.NOT_IMPLEMENTED: "unsupported",
    HTTPStatus.BAD_GATEWAY: "failed",
    HTTPStatus.GATEWAY_TIMEOUT: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "failed",
}
"""What becomes of a write, by the status of its answer; what is not here is the request's own fault."""

_WORDS = {True: "on", False: "off", None: "unknown"}


@dataclass(slots=True)
class AuditRecord:
    """One request to switch, as far as it is known: `before` and `wanted` are None until then."""

    client: str
    target: str
    before: bool | None = None
    wanted: bool | None = None

    def tell(self, own: ExporterMetrics, problem: Problem | None) -> None:
        """Log and count the outcome."""
        outcome = _OUTCOMES.get(problem.status, "invalid") if problem else "done"
        own.writes.labels(outcome).inc()
        fields = {
            "client": self.client,
            "target": self.target,
            "from": _WORDS[self.before],
            "to": _WORDS[self.wanted],
            "outcome": outcome,
        }
        if problem:
            logger.warning("Transforms not switched", extra={**fields, "err": problem.detail})
        else:
            logger.info("Transforms switched", extra=fields)


def client_of(request: Request) -> str:
    """The address of whoever asks; a Unix socket has none."""
    return request.client.host if request.client else "unix"
