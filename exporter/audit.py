"""The audit log: a line for every request that writes, and a metric."""

import logging
import time
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request

from exporter.http.limits import LogLimit, client_network
from exporter.http.responses import Problem
from exporter.metrics import ExporterMetrics

logger = logging.getLogger(__name__)

_OUTCOMES = {
    HTTPStatus.UNAUTHORIZED: "denied",
    HTTPStatus.FORBIDDEN: "denied",
    HTTPStatus.NOT_IMPLEMENTED: "unsupported",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
    HTTPStatus.BAD_GATEWAY: "failed",
    HTTPStatus.GATEWAY_TIMEOUT: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "failed",
}
"""The outcome of a write by the status of its response; any other error status is a client error."""

_STATES = {True: "on", False: "off", None: "unknown"}
_LONGEST_NAME = 200
"""Maximum characters of a target's name in the log."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A request to switch the transforms; `before`, `wanted` and `after` are None as far as they are unknown."""

    client: str
    target: str
    before: bool | None = None
    wanted: bool | None = None
    after: bool | None = None
    problem: Problem | None = None

    @property
    def outcome(self) -> str:
        return _OUTCOMES.get(self.problem.status, "invalid") if self.problem else "done"

    def log(self, own: ExporterMetrics, limit: LogLimit) -> None:
        """Count the outcome and log it. Of denied requests, one line per client and minute is logged."""
        own.writes.labels(self.outcome).inc()
        repeated: int | None = 0
        if self.outcome == "denied":
            network = client_network((self.client, 0))
            repeated = limit.repeated(network, time.monotonic())
            if repeated is None:
                return
        fields = {
            "client": self.client,
            "target": self.target[:_LONGEST_NAME],
            "from": _STATES[self.before],
            "to": _STATES[self.wanted],
            "outcome": self.outcome,
            **({"repeated": repeated} if repeated else {}),
        }
        if self.problem:
            detail = self.problem.detail[: 2 * _LONGEST_NAME]
            logger.warning("Transforms not switched", extra={**fields, "err": detail})
        else:
            logger.info("Transforms switched", extra=fields)


def client_of(request: Request) -> str:
    """The client's address; on a Unix socket there is none."""
    return request.client.host if request.client else "unix"
