"""Scrapes go straight to their endpoints.

FastAPI's way to a route, through its middleware, matching and dependencies, takes 60 µs of CPU for each request, which
is half of what a probe takes in all. It describes these routes as it does the others, and answers those.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.http.admission import ConcurrencyLimit

Endpoint = Callable[[Request], Awaitable[Response]]
Answers = Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]


class ScrapeFastPath:
    """Answers GET for the paths of `endpoints` itself, each request in a place of its own.
    Everything else is for `app`.

    What an endpoint raises is answered as `answers` has it; anything else is a defect, and goes on to the caller.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[str, Endpoint],
        admission: ConcurrencyLimit,
        answers: Answers,
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._admission = admission
        self._answers = answers
        self._expected = tuple(answers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = scope["type"] == "http" and scope["method"] == "GET"
        endpoint = self._endpoints.get(scope["path"]) if wanted else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app  # as it would itself
        request = Request(scope, receive)
        try:
            # Until the answer is written, or nobody is there to read it.
            with self._admission.place():
                response = await endpoint(request)
                await response(scope, receive, send)
        except self._expected as error:
            response = await self._answers[type(error)](request, error)
            await response(scope, receive, send)
