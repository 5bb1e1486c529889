import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from pathlib import Path

import bcrypt
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.http.auth import Authentication, Passwords
from exporter.http.limits import LogLimit
from exporter.http.web_file import WebFile

API_TOKEN = "api-token"
HASH = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
PATHS = ("/metrics", "/probe", "/sd", "/", "/docs", "/api/v1/targets", "/-/reload", "/-/healthyx")


def accepting(token: bytes) -> Callable[[str], Awaitable[bool]]:
    """Whether a header's text is `token`, as the service checks it."""

    async def is_token(given: str) -> bool:
        return bool(token) and compare_digest(given.encode("latin-1"), token)

    return is_token


async def echo(request: Request) -> Response:
    return PlainTextResponse(request.url.path, headers={"X-Frame-Options": "sameorigin"})


def guarded(directory: Path, text: str) -> httpx.AsyncClient:
    path = directory / "web.yml"
    path.write_text(text)
    app = Starlette(routes=[Route("/{path:path}", echo)])
    web = WebFile(path)
    web.fresh_s = 0
    gate = Authentication(app, web, accepting(b"api-token"))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(gate),
        base_url="http://exporter",
    )


def with_users(directory: Path) -> httpx.AsyncClient:
    return guarded(directory, f"basic_auth_users: {{anna: {HASH}, bert: {HASH}}}")


@pytest.mark.parametrize("path", PATHS)
async def test_requests_without_a_password_are_401(tmp_path: Path, path: str) -> None:
    async with with_users(tmp_path) as client:
        answer = await client.get(path)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 401


@pytest.mark.parametrize("path", PATHS)
async def test_a_user_with_the_password_may_request_every_page(tmp_path: Path, path: str) -> None:
    async with with_users(tmp_path) as client:
        answer = await client.get(path, auth=("bert", "open sesame"))

    assert (200, path) == (answer.status_code, answer.text)


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_health_needs_no_password(tmp_path: Path, path: str) -> None:
    async with with_users(tmp_path) as client:
        answer = await client.get(path)

    assert (200, path) == (answer.status_code, answer.text)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("anna", "wrong"),
        ("unknown", "open sesame"),
        ("", ""),
        ("anna", ""),
        ("anna", "open sesame\0"),
        ("anna", "x" * 500),
    ],
)
async def test_a_wrong_user_or_password_is_rejected(
    tmp_path: Path, user: str, password: str
) -> None:
    async with with_users(tmp_path) as client:
        answers = [await client.get("/metrics", auth=(user, password)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [401, 401]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
async def test_any_authorization_header_is_rejected_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    directory = tmp_path_factory.getbasetemp()
    async with with_users(directory) as client:
        for header in (text, f"Basic {text}", f"Bearer {text}"):
            answer = await client.get("/metrics", headers={"Authorization": header})

            assert answer.status_code == 401


async def test_a_password_longer_than_bcrypt_reads_is_accepted(tmp_path: Path) -> None:
    password = "p" * 100
    digest = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    async with guarded(tmp_path, f"basic_auth_users: {{anna: {digest}}}") as client:
        answer = await client.get("/metrics", auth=("anna", password))

    assert answer.status_code == 200


async def test_users_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    async with with_users(tmp_path) as client:
        before = await client.get("/metrics", auth=("anna", "open sesame"))
        (tmp_path / "web.yml").write_text(f"basic_auth_users: {{bert: {HASH}}}\n")
        after = await client.get("/metrics", auth=("anna", "open sesame"))

    assert (before.status_code, after.status_code) == (200, 401)


async def test_the_api_token_replaces_a_password(tmp_path: Path) -> None:
    async with with_users(tmp_path) as client:
        answer = await client.put(
            "/api/v1/targets/a/transforms", headers={"Authorization": f"bearer {API_TOKEN}"}
        )

    assert (
        answer.status_code == 405
    )  # the application's own response: the request was authenticated


async def test_the_api_token_may_end_with_a_byte_that_is_a_space_in_latin_1(
    tmp_path: Path,
) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{anna: {HASH}}}")
    app = Starlette(routes=[Route("/{path:path}", echo)])
    gate = Authentication(app, WebFile(path), accepting("à".encode()))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(gate), base_url="http://exporter"
    ) as client:
        answer = await client.get("/", headers={b"Authorization": "Bearer à".encode()})

    assert answer.status_code == 200


async def test_a_wrong_api_token_does_not_request_a_password(
    tmp_path: Path,
) -> None:
    async with with_users(tmp_path) as client:
        answer = await client.put("/api/v1/x", headers={"Authorization": "Bearer wrong"})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_without_users_no_password_is_required(tmp_path: Path) -> None:
    async with guarded(tmp_path, "") as client:
        answers = [
            await client.get("/metrics", headers=headers)
            for headers in ({}, {"Authorization": "Bearer wrong"})
        ]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_configured_headers_replace_those_of_every_response(tmp_path: Path) -> None:
    text = f"""
http_server_config: {{headers: {{X-Frame-Options: deny, X-Content-Type-Options: nosniff}}}}
basic_auth_users: {{anna: {HASH}}}
"""
    async with guarded(tmp_path, text) as client:
        answers = [await client.get("/metrics"), await client.get("/-/healthy")]

    for answer in answers:
        assert answer.headers.get_list("x-frame-options") == ["deny"]
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_requests_beyond_the_rate_limit_are_429_except_health(tmp_path: Path) -> None:
    async with guarded(tmp_path, "rate_limit: {interval: 1h, burst: 2}") as client:
        statuses = [(await client.get("/metrics")).status_code for _ in range(4)]
        healthy = await client.get("/-/healthy")

    assert statuses == [200, 200, 429, 429]
    assert healthy.status_code == 200


async def test_only_valid_passwords_are_cached_up_to_a_limit() -> None:
    users = {f"user{index}".encode(): HASH.encode() for index in range(6)}
    passwords = Passwords(remembered=4)

    good = [await passwords.match("", users, user, b"open sesame") for user in users]
    bad = [await passwords.match("", users, user, b"guess") for user in users]

    assert (good, bad) == ([True] * 6, [False] * 6)
    assert len(passwords) == 4


async def test_simultaneous_requests_share_one_password_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    checkpw = bcrypt.checkpw

    def counting(password: bytes, digest: bytes) -> bool:
        compared.append(digest)
        return checkpw(password, digest)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    passwords = Passwords()

    fits = await asyncio.gather(
        *(
            passwords.match("", {b"anna": HASH.encode()}, b"anna", b"open sesame")
            for _ in range(20)
        )
    )

    assert all(fits)
    assert len(compared) == 1


async def test_an_unknown_user_takes_as_long_as_a_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, digest: compared.append(digest))

    await Passwords().match("", {b"anna": HASH.encode()}, b"unknown", b"guess")

    assert [HASH.encode()] == compared


async def test_a_rejected_password_is_logged_without_password_and_user(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with with_users(tmp_path) as client:
        await client.get("/metrics", auth=("my-password-by-mistake", "hunter2"))

    log = " ".join(str(vars(record)) for record in caplog.records if record.name != "httpx")
    assert "Password refused" in log
    for secret in ("my-password-by-mistake", "hunter2", HASH):
        assert secret not in log
        assert base64.b64encode(secret.encode()).decode() not in log


class Slow:
    """bcrypt comparison that blocks until released, and records its arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compared: list[bytes] = []
        self.go = threading.Event()
        monkeypatch.setattr(bcrypt, "checkpw", self._compare)

    def _compare(self, password: bytes, digest: bytes) -> bool:
        self.compared.append(password)
        return self.go.wait(1) and password == b"open sesame"

    async def begun(self) -> None:
        async with asyncio.timeout(5):
            while not self.compared:
                await asyncio.sleep(0.001)


USERS = {b"anna": HASH.encode()}


async def test_a_client_with_too_many_comparisons_is_rejected_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    passwords = Passwords(per_client=3)

    def guess(client: str, password: bytes) -> asyncio.Future[bool]:
        return asyncio.ensure_future(passwords.match(client, USERS, b"anna", password))

    guesses = [guess("192.0.2.1", b"guess %d" % index) for index in range(30)]
    await slow.begun()
    good = guess("192.0.2.2", b"open sesame")
    again = guess("192.0.2.9", b"guess 2")
    await asyncio.sleep(0)
    slow.go.set()
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)

    assert await good
    assert not await again
    assert outcomes[:3] == [False] * 3
    assert {getattr(outcome, "status", 0) for outcome in outcomes[3:]} == {503}
    # Round robin: the valid client waited for the current comparison, and for one more at most.
    assert slow.compared.index(b"open sesame") <= 2


async def test_a_full_queue_drops_the_last_comparison_of_the_client_with_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    passwords = Passwords(per_client=4, waiting=8)
    guesses = [
        asyncio.ensure_future(
            passwords.match(f"192.0.2.{client}", USERS, b"anna", b"%d %d" % (client, index))
        )
        for client in range(2)
        for index in range(5)
    ]
    await slow.begun()
    good = asyncio.ensure_future(passwords.match("192.0.2.9", USERS, b"anna", b"open sesame"))
    await asyncio.sleep(0)
    slow.go.set()
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)

    assert await good
    assert sum(outcome is False for outcome in outcomes) >= 7


async def test_a_client_is_admitted_in_place_of_the_one_whose_comparison_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    passwords = Passwords(per_client=4, waiting=3)

    def guess(client: str, password: bytes) -> asyncio.Future[bool]:
        return asyncio.ensure_future(passwords.match(client, USERS, b"anna", password))

    guesses = [guess("192.0.2.1", b"first")]
    await slow.begun()
    guesses += [guess("192.0.2.1", b"guess %d" % index) for index in range(3)]
    await asyncio.sleep(0)
    good = guess("192.0.2.9", b"open sesame")
    await asyncio.sleep(0)
    slow.go.set()
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)

    assert await good
    assert outcomes[:3] == [False] * 3
    assert getattr(outcomes[3], "status", 0) == 503


async def test_an_unsupported_hash_fails_only_its_own_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(password: bytes, digest: bytes) -> bool:
        raise ValueError("Invalid salt")

    passwords = Passwords()
    with monkeypatch.context() as broken:
        broken.setattr(bcrypt, "checkpw", fail)
        with pytest.raises(ValueError, match="Invalid salt"):
            await passwords.match("", USERS, b"anna", b"open sesame")

    assert await passwords.match("", USERS, b"anna", b"open sesame")


async def test_rejected_passwords_of_one_client_are_logged_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_users(tmp_path) as client:
        for index in range(5):
            await client.get("/metrics", auth=("anna", f"guess {index}"))

    assert [r.message for r in caplog.records].count("Password refused") == 1


def test_a_log_limit_counts_suppressed_lines_and_expires_old_clients() -> None:
    limit = LogLimit(interval_s=60, most_clients=2)

    assert [limit.repeated("a", now) for now in (0, 1, 59, 60)] == [0, None, None, 2]
    assert [limit.repeated(client, 61) for client in "bca"] == [0, 0, 0]
