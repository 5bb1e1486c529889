"""Errors as problem documents (RFC 9457)."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from starlette.responses import Response

from protocol.errors import FailureReason, NoReading


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


@contextmanager
def cut_short() -> Iterator[None]:
    """The HTTP server cancels a request only when it shuts down: then that is the answer."""
    try:
        yield
    except asyncio.CancelledError:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the exporter is shutting down") from None


def unanswered(error: NoReading) -> Problem:
    """The problem of a server that refused, or could not be reached, or did not answer."""
    silent = error.reason is FailureReason.TIMEOUT
    status = HTTPStatus.GATEWAY_TIMEOUT if silent else HTTPStatus.BAD_GATEWAY
    return Problem(status, str(error), reason=error.reason.value)
