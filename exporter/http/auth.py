"""Authentication: the users of the web configuration and the API token, before the application."""

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus

import bcrypt
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.http.limits import LogLimit, client_network
from exporter.http.responses import Problem
from exporter.http.web_config import WebConfig
from exporter.http.web_file import WebFile

logger = logging.getLogger(__name__)

BEARER = 'Bearer realm="smtpstatus exporter"'
"""The challenge for the API token (RFC 6750)."""

_OPEN = ("/-/healthy", "/-/ready")
"""Paths without authentication: orchestrators request them without a password."""


class Authentication:
    """ASGI middleware: admits users with their password, and clients with the API token.

    A request has one `Authorization` header. The API token in it counts as a password too, since it
    gives more rights than any: `is_api_token` compares a bearer token with it, in constant time.
    Sets `scope["user"]` to the name of a user.
    """

    def __init__(
        self, app: ASGIApp, web: WebFile, is_api_token: Callable[[str], Awaitable[bool]]
    ) -> None:
        self._app = app
        self._web = web
        self._is_api_token = is_api_token
        self._passwords = Passwords()
        self._log_limit = LogLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        config = await self._web.current()
        send = _with_headers(send, config)
        if scope["path"] not in _OPEN:
            try:
                await self._admit(Request(scope), config)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, request: Request, config: WebConfig) -> None:
        """Raises `Problem`."""
        if config.rate is not None and not config.rate.take(time.monotonic()):
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit is reached: retry later")
        if not config.users:
            return
        token = bearer_token(request)
        if token is not None:
            if await self._is_api_token(token):
                return
            # A browser asks for a password if the challenge is Basic.
            raise _unauthorized(BEARER)
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            user, password = _decoded(credentials)
            client = client_network(request.client)
            if await self._passwords.match(client, config.users, user, password):
                request.scope["user"] = user.decode()
                return
            self._log_failure(client)
        raise _unauthorized('Basic realm="smtpstatus exporter", charset="UTF-8"')

    def _log_failure(self, client: str) -> None:
        repeated = self._log_limit.repeated(client, time.monotonic())
        if repeated is not None:
            logger.warning("Password refused", extra={"client": client, "repeated": repeated})


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
    """Adds the configured headers, which replace the application's of the same name."""
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


_BCRYPT_BYTES = 72
"""Bytes of a password that bcrypt reads; longer ones are truncated, as by the programs that create hashes."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    entry: bytes
    password: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    result: "asyncio.Future[bool]"


class Passwords:
    """Compares passwords with bcrypt hashes: in a thread, one at a time, and a matching one once.

    Clients are served round robin, so that one that guesses does not delay the others by more than one
    comparison. Each may have `per_client` comparisons waiting, and all together `waiting`.
    """

    def __init__(self, remembered: int = 128, per_client: int = 4, waiting: int = 64) -> None:
        self._remembered = remembered
        self._per_client = per_client
        self._most_waiting = waiting
        self._key = secrets.token_bytes(32)
        self._matching: OrderedDict[bytes, None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "password")
        self._pending: dict[bytes, asyncio.Future[bool]] = {}
        self._queues: dict[tuple[str, bytes], deque[_Comparison]] = {}
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Number of matching passwords in the cache."""
        return len(self._matching)

    async def match(
        self, client: str, users: Mapping[bytes, bytes], user: bytes, password: bytes
    ) -> bool:
        """Whether the password is the user's. An unknown user takes as long as a wrong password.

        Raises `Problem` immediately when too many other comparisons wait.
        """
        known = user in users
        digest = users[user] if known else next(iter(users.values()))
        # `known` is part of it: a removed user must not be taken for the one compared instead.
        entry = self._entry(known, user, digest, password)
        if entry not in self._matching:
            turn = (client, user if known else b"")
            if not (await self._compared(turn, entry, password, digest) and known):
                return False
        self._matching[entry] = None
        self._matching.move_to_end(entry)
        if len(self._matching) > self._remembered:
            self._matching.popitem(last=False)
        return True

    async def _compared(
        self, turn: tuple[str, bytes], entry: bytes, password: bytes, digest: bytes
    ) -> bool:
        result = self._pending.get(entry)
        if result is None:
            queue = self._queues.get(turn, deque())
            if len(queue) >= self._per_client or not self._make_room(len(queue)):
                raise _too_many_comparisons()
            result = asyncio.get_running_loop().create_future()
            comparison = _Comparison(entry, password[:_BCRYPT_BYTES], digest, result)
            queue.append(comparison)
            self._queues[turn] = queue
            self._pending[entry] = result
            if self._worker is None:
                self._worker = asyncio.ensure_future(self._work())
        return await asyncio.shield(result)

    def _make_room(self, own: int) -> bool:
        """Whether one more may wait; if the queue is full, the client with the most loses its last one."""
        if sum(map(len, self._queues.values())) < self._most_waiting:
            return True
        longest = max(self._queues.values(), key=len)
        if len(longest) <= own + 1:
            return False
        dropped = longest.pop()
        del self._pending[dropped.entry]
        dropped.result.set_exception(_too_many_comparisons())
        return True

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queues:
            turn = next(iter(self._queues))
            queue = self._queues.pop(turn)
            comparison = queue.popleft()
            if queue:  # round robin: the client's next one follows those of all others
                self._queues[turn] = queue
            try:
                matches = await loop.run_in_executor(
                    self._thread, bcrypt.checkpw, comparison.password, comparison.digest
                )
            except Exception as error:  # for a hash that the library does not support
                comparison.result.set_exception(error)
            else:
                comparison.result.set_result(matches)
            del self._pending[comparison.entry]
        self._worker = None

    def _entry(self, *facts: object) -> bytes:
        return hashlib.blake2b(repr(facts).encode(), key=self._key).digest()


def _too_many_comparisons() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too many passwords are being compared: retry later",
        {"Retry-After": "1"},
    )
