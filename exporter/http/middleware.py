"""ASGI middleware for every request: client address, path, HEAD, and CORS."""

import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.http.responses import Problem

_SLASHES = re.compile("/{2,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GRAFANA_HEADERS = ("Authorization", "X-Grafana-Action", "X-Grafana-Device-Id")
"""Headers of Grafana's actions in addition to those that CORS always allows."""

TrustedProxies = Sequence[IPv4Network | IPv6Network | None]
"""Networks; None is a proxy on a Unix socket."""


class Forwarded:
    """Sets the client's address and the scheme from the headers of trusted proxies.

    The client is the rightmost address of X-Forwarded-For that is not a trusted proxy's. Without a
    trusted proxy, the headers have no effect.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope["client"]
            if self._trusts(client[0] if client else None):
                scope = {**scope, **self._forwarded(scope)}
        await self._app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> Scope:
        headers = Headers(scope=scope)
        found: Scope = {}
        proto = headers.getlist("x-forwarded-proto")
        if proto and (scheme := proto[-1].rpartition(",")[2].strip().lower()) in ("http", "https"):
            found["scheme"] = scheme
        hops = ",".join(headers.getlist("x-forwarded-for")).split(",")
        for hop in reversed(hops):
            address = _host(hop)
            if address is None:
                break
            found["client"] = (address, 0)
            if not self._trusts(address):
                break
        return found

    def _trusts(self, host: str | None) -> bool:
        if host is None:
            return None in self._proxies
        address = ip_address(host.partition("%")[0])
        return any(network is not None and address in network for network in self._proxies)


def _host(hop: str) -> str | None:
    """The address of an element of X-Forwarded-For, which may have a port; None if it is not an address."""
    text = hop.strip()
    for candidate in (text, text.rpartition(":")[0]):
        try:
            address = ip_address(candidate.strip("[]"))
            return str(getattr(address, "ipv4_mapped", None) or address)
        except ValueError:
            continue
    return None


class Paths:
    """Rejects control characters in paths, merges repeated slashes, and removes the route prefix."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """`prefix` is empty, or begins with a slash and does not end with one."""
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if _CONTROL.search(path):
            problem = Problem(HTTPStatus.BAD_REQUEST, "the path has a control character")
            await problem.response()(scope, receive, send)
            return
        if "//" in path:
            path = _SLASHES.sub("/", path)
        if self._prefix:
            if path == self._prefix:
                # Relative links of the page work only below the prefix.
                await RedirectResponse(f"{self._prefix}/", 308)(scope, receive, send)
                return
            if not path.startswith(f"{self._prefix}/"):
                await Problem(HTTPStatus.NOT_FOUND, "not found").response()(scope, receive, send)
                return
            path = path.removeprefix(self._prefix)
        scope["path"] = path
        await self._app(scope, receive, send)


Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


class ScrapeFastPath:
    """Serves GET of the paths of `endpoints` before Starlette's routing and exception handling.

    Those take 6 us more, which is more than 5 % of the CPU time of a probe.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[str, Endpoint],
        handlers: Mapping[type[Exception], Handler],
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._handlers = handlers
        self._expected = tuple(handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        served = scope["type"] == "http" and scope["method"] == "GET"
        endpoint = self._endpoints.get(scope["path"]) if served else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
            await response(scope, receive, send)
        except self._expected as error:
            handler = next(
                self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers
            )
            response = await handler(request, error)
            await response(scope, receive, send)


class HeadAsGet:
    """Passes HEAD as GET: the same headers (RFC 9110, 9.3.2). The HTTP server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class Cors(CORSMiddleware):
    """Starlette's CORS middleware for the API, with the origins of the configuration in use."""

    def __init__(self, app: ASGIApp, origins: Callable[[], Collection[str]]) -> None:
        super().__init__(
            app, allow_methods=("GET", "HEAD", "PUT"), allow_headers=_GRAFANA_HEADERS, max_age=600
        )
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        concerned = scope["type"] == "http" and scope["path"].startswith("/api/")
        if concerned and self._origins():
            await super().__call__(scope, receive, _varying(send))
        else:
            await self.app(scope, receive, send)

    def is_allowed_origin(self, origin: str) -> bool:
        return origin in self._origins()


def _varying(send: Send) -> Send:
    """Adds `Vary: Origin`, also to responses without CORS headers, which older versions of Starlette leave out."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "origin" not in headers.get("vary", "").lower():
                headers.add_vary_header("Origin")
        await send(message)

    return sending
