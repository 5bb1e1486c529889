"""The gate before the application: what the web configuration says of headers, of users, and of how often."""

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from http import HTTPStatus

import bcrypt
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.serving.problem import Problem
from exporter.serving.web import WebConfig, WebFile

logger = logging.getLogger(__name__)

_OPEN = ("/-/healthy", "/-/ready")
"""Orchestrators ask these and have no password."""
_BCRYPT_READS = 72
"""bcrypt reads no further; programs that make hashes cut a longer password here, and so do we."""


class Gate:
    """ASGI middleware: lets in users with their password, and whoever has the API token.

    A request has room for one `Authorization` header. The API token there counts as a password too, since it
    gives more rights than any: `is_api_token` says whether a bearer token is it, in constant time.
    """

    def __init__(self, app: ASGIApp, web: WebFile, is_api_token: Callable[[str], bool]) -> None:
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
        try:
            if scope["path"] not in _OPEN:
                await self._admit(scope, config)
        except Problem as refusal:
            await refusal.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, config: WebConfig) -> None:
        if config.rate is not None and not config.rate.allows("", time.monotonic()):
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit is reached: ask later")
        if not config.users:
            return
        scheme, _, credentials = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if self._is_api_token(credentials.strip()):
                return
            # A browser that hears no Basic here does not ask for a password over the page's own dialog.
            raise _unauthorized('Bearer realm="smtpstatus exporter"')
        if scheme.lower() == "basic":
            if await self._passwords.fit(config.users, *_decoded(credentials)):
                return
            client = scope.get("client")
            logger.warning("Password refused", extra={"client": client[0] if client else "unix"})
        raise _unauthorized('Basic realm="smtpstatus exporter", charset="UTF-8"')


class Passwords:
    """Compares passwords with bcrypt hashes: in a thread, one at a time, and the good ones once only."""

    def __init__(self, remembered: int = 128) -> None:
        self._remembered = remembered
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        # Guessing costs one processor at most, and a cached password waits for none of it.
        self._turn = asyncio.Semaphore(1)

    def __len__(self) -> int:
        return len(self._good)

    async def fit(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
        """Whether the password is the user's. An unknown user takes as long as a wrong password."""
        known = user in users
        digest = users[user] if known else next(iter(users.values()))
        # `known` is part of it: a user who was taken out must not be taken for the one compared instead.
        entry = self._entry(known, user, digest, password)
        async with nullcontext() if entry in self._good else self._turn:
            if entry not in self._good:
                matched = await asyncio.to_thread(bcrypt.checkpw, password[:_BCRYPT_READS], digest)
                if not (matched and known):
                    return False
        self._good[entry] = None
        self._good.move_to_end(entry)
        if len(self._good) > self._remembered:
            self._good.popitem(last=False)
        return True

    def _entry(self, *facts: object) -> bytes:
        return hashlib.blake2b(repr(facts).encode(), key=self._key).digest()


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
