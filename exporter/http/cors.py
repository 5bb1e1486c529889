"""Which web pages of other origins may use the API (Fetch standard, 3.2): those configured, with Grafana's headers."""

from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
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
