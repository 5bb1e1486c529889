"""The status page: HTML, styles and scripts, and the headers that keep it from loading anything from elsewhere."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.http.responses import ChunkedBody

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Cached and revalidated: a new version is seen immediately, an unchanged one costs a 304.
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    """`/`, and `/assets/…` for what it refers to. The files are read once, here."""
    assets = [
        Route(f"/assets/{file.name}", _file(file), methods=["GET"])
        for file in sorted(files(__name__).iterdir(), key=lambda file: file.name)
        if file.name.rpartition(".")[2] in _TYPES and file.name != "index.html"
    ]
    return [Route("/", _file(files(__name__) / "index.html"), methods=["GET"]), *assets]


def _file(file: Traversable) -> Callable[[Request], Awaitable[Response]]:
    content = file.read_bytes()
    tag = f'"{sha256(content).hexdigest()[:20]}"'
    headers = {**_HEADERS, "ETag": tag}
    media_type = _TYPES[file.name.rpartition(".")[2]]

    async def answer(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return ChunkedBody(content, headers=headers, media_type=media_type)

    return answer
