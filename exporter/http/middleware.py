"""ASGI middleware of every request: HEAD, CORS, and how many requests are worked on."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = "GET, HEAD, PUT"
_HEADERS = "authorization, content-type, x-grafana-action, x-grafana-device-id"
"""What Grafana's actions send."""
_SECONDS = "600"


class Cors:
    """Middleware in front of the API; with no origins it does nothing. `origins` is asked for each request."""

    def __init__(self, app: ASGIApp, origins: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        concerned = scope["type"] == "http" and scope["path"].startswith("/api/")
        origins = self._origins() if concerned else ()
        if not origins:
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        origin = asked.get("origin", "")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Origin")
                if origin in origins:
                    headers["Access-Control-Allow-Origin"] = origin
            await send(message)

        if (
            scope["method"] == "OPTIONS"
            and origin in origins
            and "access-control-request-method" in asked
        ):
            preflight = {
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _HEADERS,
                "Access-Control-Max-Age": _SECONDS,
            }
            await Response(status_code=204, headers=preflight)(scope, receive, sending)
        else:
            await self._app(scope, receive, sending)


class HeadAsGet:
    """Middleware that asks the application with GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class TooManyRequests(Exception):
    """All places are taken."""


class ConcurrencyLimit:
    """Places for requests; 0 means as many as come."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place until the context is left, however it is left. Raises `TooManyRequests`."""
        if self.places and self.taken >= self.places:
            raise TooManyRequests(
                f"{self.taken} scrapes are under way, as many as --web.max-requests allows"
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


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
