"""The gate before the application: what the web configuration says of headers, of users, and of how often."""

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import bcrypt
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.http.disconnect import while_connected
from exporter.http.responses import Problem
from exporter.http.web_config import WebConfig, WebFile
from exporter.singleflight import SingleFlight

logger = logging.getLogger(__name__)

BEARER = 'Bearer realm="smtpstatus exporter"'
"""The challenge for the API token (RFC 6750)."""

_OPEN = ("/-/healthy", "/-/ready")
"""Orchestrators ask these and have no password."""


class Authentication:
    """ASGI middleware: lets in users with their password, and whoever has the API token.

    A request has room for one `Authorization` header. The API token there counts as a password too, since it
    gives more rights than any: `is_api_token` says whether a bearer token is it, in constant time.
    """

    def __init__(
        self, app: ASGIApp, web: WebFile, is_api_token: Callable[[str], Awaitable[bool]]
    ) -> None:
        self._app = app
        self._web = web
        self._is_api_token = is_api_token
        self._passwords = Passwords()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        config = self._web.current()
        send = _with_headers(send, config)
        ahead = _Ahead(receive)
        try:
            if scope["path"] not in _OPEN:
                await self._admit(Request(scope, ahead.look), config)
        except ClientDisconnect:
            return
        except Problem as refusal:
            await refusal.response()(scope, receive, send)
        else:
            await self._app(scope, ahead.receive, send)

    async def _admit(self, request: Request, config: WebConfig) -> None:
        if config.rate is not None and not config.rate.allows("", time.monotonic()):
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit is reached: ask later")
        if not config.users:
            return
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if await self._is_api_token(credentials.strip(" \t")):
                return
            # A browser that hears no Basic here does not ask for a password over the page's own dialog.
            raise _unauthorized(BEARER)
        if scheme.lower() == "basic":
            user, password = _decoded(credentials)
            fitting = self._passwords.fit(config.users, user, password)
            if await while_connected(request, fitting):
                request.scope["user"] = user.decode()
                return
            client = request.client
            logger.warning("Password refused", extra={"client": client.host if client else "unix"})
        raise _unauthorized('Basic realm="smtpstatus exporter", charset="UTF-8"')


class _Ahead:
    """A request's messages, looked at for its end before the application has them, which misses none."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._seen: list[Message] = []

    async def look(self) -> Message:
        if self._seen and self._seen[-1].get("more_body"):
            await asyncio.Event().wait()  # a body is not gathered for who may not even come in
        self._seen.append(await self._receive())
        return self._seen[-1]

    async def receive(self) -> Message:
        return self._seen.pop(0) if self._seen else await self._receive()


def bearer_token(request: Request) -> str | None:
    """The token of an `Authorization: Bearer` header, or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip(" \t") if scheme.lower() == "bearer" else None


def _decoded(credentials: str) -> tuple[bytes, bytes]:
    try:
        user, _, password = base64.b64decode(credentials, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b""
    return user, password


def _with_headers(send: Send, config: WebConfig) -> Send:
    """The configured headers win over the application's own of the same name."""
    if not config.headers:
        return send
    names = {name for name, _ in config.headers}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message["headers"] if header[0].lower() not in names]
            message = {**message, "headers": [*kept, *config.headers]}
        await send(message)

    return sending


def _unauthorized(challenge: str) -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "a user name with the password, or the API token, is needed here and was not accepted",
        {"WWW-Authenticate": challenge},
    )


_BCRYPT_READS = 72
"""bcrypt reads no further; programs that make hashes cut a longer password here, and so do we."""


class Passwords:
    """Compares passwords with bcrypt hashes: in a thread, one at a time, and the good ones once only.

    A comparison that nobody waits for any longer is dropped, if it has not begun.
    """

    def __init__(self, remembered: int = 128, waiting: int = 16) -> None:
        self._remembered = remembered
        self._waiting = waiting
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "password")
        self._comparisons = SingleFlight[bool]()

    def __len__(self) -> int:
        return len(self._good)

    async def fit(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
        """Whether the password is the user's. An unknown user takes as long as a wrong password.

        Raises `Problem` at once when too many other ones are being compared.
        """
        known = user in users
        digest = users[user] if known else next(iter(users.values()))
        # `known` is part of it: a user who was taken out must not be taken for the one compared instead.
        entry = self._entry(known, user, digest, password)
        if entry not in self._good and not (
            await self._compared(entry, password, digest) and known
        ):
            return False
        self._good[entry] = None
        self._good.move_to_end(entry)
        if len(self._good) > self._remembered:
            self._good.popitem(last=False)
        return True

    async def _compared(self, entry: bytes, password: bytes, digest: bytes) -> bool:
        if len(self._comparisons) >= self._waiting and entry not in self._comparisons:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._waiting} passwords are being compared: ask later",
                {"Retry-After": "1"},
            )

        async def compare() -> bool:
            loop = asyncio.get_running_loop()
            octets = password[:_BCRYPT_READS]
            return await loop.run_in_executor(self._thread, bcrypt.checkpw, octets, digest)

        return await self._comparisons.join(entry, 0.0, compare)

    def _entry(self, *facts: object) -> bytes:
        return hashlib.blake2b(repr(facts).encode(), key=self._key).digest()
