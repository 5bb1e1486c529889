"""Authorization of configuration reloads over HTTP."""

import logging

import bcrypt
import httpx
import pytest

from exporter.app import create_app
from tests.exporter.running import AUTHORIZED, Exporter, MailServer, Start, one_target

USERS = f"basic_auth_users: {{anna: {bcrypt.hashpw(b'open sesame', bcrypt.gensalt(4)).decode()}}}"
ANNA = ("anna", "open sesame")
NO_TOKEN = "timeout: 1s\n"
PAGES = ["http://evil.example", "null", "http://127.0.0.1:17030"]


def from_address(exporter: Exporter, client: str) -> httpx.AsyncClient:
    """Client of the exporter's application with a given source address."""
    transport = httpx.ASGITransport(create_app(exporter.service), client=(client, 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://exporter")


async def test_reload_requires_the_api_token_if_configured(exporter: Exporter) -> None:
    answers = [
        await exporter.http.post("/-/reload", headers=headers)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"})
    ]

    assert [answer.status_code for answer in answers] == [401] * 3
    assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers)
    assert (await exporter.http.post("/-/reload", headers=AUTHORIZED)).status_code == 200
    assert not exporter.service.own.registry.get_sample_value("reload_failures_total")


async def test_reload_accepts_a_user_of_basic_authentication(
    start: Start, mail_server: MailServer
) -> None:
    exporter = await start(one_target(mail_server), web=USERS)

    assert (await exporter.http.post("/-/reload")).status_code == 401
    assert (await exporter.http.post("/-/reload", auth=("anna", "x"))).status_code == 401
    assert (await exporter.http.post("/-/reload", auth=ANNA)).status_code == 200
    assert (await exporter.http.post("/-/reload", headers=AUTHORIZED)).status_code == 200


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1"])
async def test_reload_without_any_authentication_is_accepted_from_this_host(
    start: Start, client: str
) -> None:
    exporter = await start(NO_TOKEN)
    async with from_address(exporter, client) as local:
        assert (await local.post("/-/reload")).status_code == 200


@pytest.mark.parametrize("client", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "0.0.0.0"])
async def test_reload_without_any_authentication_is_rejected_from_other_hosts(
    start: Start, client: str
) -> None:
    exporter = await start(NO_TOKEN)
    async with from_address(exporter, client) as remote:
        answer = await remote.post("/-/reload")

    assert answer.status_code == 403
    assert "API token" in answer.json()["detail"]


async def test_no_text_is_the_api_token_if_none_is_configured(start: Start) -> None:
    exporter = await start(NO_TOKEN)
    async with from_address(exporter, "192.0.2.1") as distant:
        for given in ("", "None", "letmeswitch"):
            headers = {"Authorization": f"Bearer {given}"}
            assert (await distant.post("/-/reload", headers=headers)).status_code == 403
            assert not await exporter.service.is_api_token(given)


async def test_no_bearer_token_replaces_a_password_if_none_is_configured(start: Start) -> None:
    exporter = await start(NO_TOKEN, web=USERS)

    for given in ("None", "letmeswitch"):
        headers = {"Authorization": f"Bearer {given}"}
        assert (await exporter.http.get("/config", headers=headers)).status_code == 401
        assert (await exporter.http.post("/-/reload", headers=headers)).status_code == 401
    assert (await exporter.http.get("/config", auth=ANNA)).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_reload_through_a_proxy_on_this_host_is_not_local(start: Start, header: str) -> None:
    exporter = await start(NO_TOKEN)

    assert (await exporter.http.post("/-/reload", headers={header: "x"})).status_code == 403


@pytest.mark.parametrize("origin", PAGES)
async def test_reload_from_a_web_page_requires_the_api_token(
    start: Start, mail_server: MailServer, origin: str
) -> None:
    page = {"Origin": origin}
    without = await start(NO_TOKEN)
    assert (await without.http.post("/-/reload", headers=page)).status_code == 403

    guarded = await start(one_target(mail_server), web=USERS)
    assert (await guarded.http.post("/-/reload", headers=page, auth=ANNA)).status_code == 403
    assert (await guarded.http.post("/-/reload", headers=page | AUTHORIZED)).status_code == 200


async def test_a_rejected_reload_reads_no_file(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = await start(NO_TOKEN)
    exporter.path.write_text("nonsense: 1")
    with caplog.at_level(logging.DEBUG):
        answer = await exporter.http.post("/-/reload", headers={"Origin": "null"})

    assert "nonsense" not in answer.text + caplog.text
    name = "smtpstatus_exporter_config_reloads_total"
    assert exporter.service.own.registry.get_sample_value(name) == 0
