"""Errors as problem documents (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from protocol import NoReading, Reason

STATUS = {
    Reason.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
}
"""Failures between the exporter and a server that are not 502."""


class Problem(Exception):
    """An answer that is an error: what happened this time in `detail`, and members beyond RFC 9457's own."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members

    def response(self) -> Response:
        document = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            **self.members,
        }
        return Response(
            json.dumps(document),
            self.status,
            self.headers,
            media_type="application/problem+json",
        )


def unanswered(error: NoReading) -> Problem:
    """The problem of a server that refused, or could not be reached, or did not answer."""
    status = STATUS.get(error.reason, HTTPStatus.BAD_GATEWAY)
    return Problem(status, str(error), reason=error.reason.value)
