import json
import logging
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from exporter.audit import AuditRecord
from exporter.http.limits import LogLimit
from exporter.http.responses import Problem
from protocol.dialects import DIALECTS
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import Command
from tests.exporter.running import (
    API_TOKEN,
    AUTHORIZED,
    TOKEN,
    Exporter,
    MailServer,
    Start,
    one_target,
    running_mail_server,
    silence,
)

SWITCH = "/api/v1/targets/mail-1/transforms"


async def put(exporter: Exporter, enabled: object, path: str = SWITCH) -> httpx.Response:
    return await exporter.http.put(path, json={"enabled": enabled}, headers=AUTHORIZED)


def writes(exporter: Exporter) -> dict[str, float]:
    """Counted outcomes and their numbers."""
    return {
        sample.labels["outcome"]: sample.value
        for family in exporter.service.own.registry.collect()
        for sample in family.samples
        if sample.name == "smtpstatus_exporter_writes_total" and sample.value
    }


async def test_a_target_has_the_documented_json(
    exporter: Exporter, mail_server: MailServer
) -> None:
    state = (await exporter.http.get("/api/v1/targets/mail-1")).json()

    assert 0 < state.pop("round_trip_seconds") < 1
    assert state == {
        "target": "mail-1",
        "up": True,
        "connections_total": 5,
        "active_connections": 0,
        "transferred_bytes_total": 51234,
        "transforms_enabled": True,
    }


async def test_the_list_includes_the_state_of_each_target(
    exporter: Exporter, mail_server: MailServer
) -> None:
    (listed,) = (await exporter.http.get("/api/v1/targets")).json()["targets"]
    state = (await exporter.http.get("/api/v1/targets/mail-1")).json()

    assert {key: listed[key] for key in listed.keys() - state.keys()} == {
        "address": mail_server.address,
        "dialect": "v0",
        "labels": {"site": "eu"},
        "can_switch": True,
        "transforms_changed": None,
        "last_probes": "/api/v1/targets/mail-1/probes",
    }
    assert [*state] == [*listed][: len(state)]


async def test_targets_are_listed_in_the_order_of_the_configuration(
    start: Start, mail_server: MailServer
) -> None:
    config = one_target(mail_server).replace(
        "targets:", "targets:\n  - {name: closed, address: '127.0.0.1:1', token: secretpa}"
    )
    exporter = await start(config)

    states = (await exporter.http.get("/api/v1/targets")).json()["targets"]

    assert [(state["target"], state["up"]) for state in states] == [
        ("closed", False),
        ("mail-1", True),
    ]


async def test_no_targets_are_an_empty_list(start: Start) -> None:
    exporter = await start("targets: []")

    assert (await exporter.http.get("/api/v1/targets")).json() == {"targets": []}


async def test_a_target_that_is_down_has_null_counters_and_an_error_text(
    start: Start,
) -> None:
    exporter = await start("targets: [{name: closed, address: '127.0.0.1:1', token: secretpa}]")

    state = (await exporter.http.get("/api/v1/targets/closed")).json()
    (listed,) = (await exporter.http.get("/api/v1/targets")).json()["targets"]

    assert state == {
        "target": "closed",
        "up": False,
        "connections_total": None,
        "active_connections": None,
        "transferred_bytes_total": None,
        "transforms_enabled": None,
        "round_trip_seconds": None,
        "error": "Connection refused",
    }
    assert listed["reason"] == "unreachable"


async def test_counts_beyond_2_to_the_53_are_exact_in_json(
    exporter: Exporter, mail_server: MailServer
) -> None:
    mail_server.values[Command.TRANSFERRED_BYTES] = 2**64 - 1

    state = (await exporter.http.get("/api/v1/targets/mail-1")).json()

    assert state["transferred_bytes_total"] == 2**64 - 1


async def test_a_switch_returns_the_state_read_back_from_the_server(
    exporter: Exporter, mail_server: MailServer
) -> None:
    off = await put(exporter, False)
    read = await exporter.http.get(SWITCH)
    again = await put(exporter, False)

    assert off.json() == read.json() == again.json() == {"target": "mail-1", "enabled": False}
    assert mail_server.values[Command.TRANSFORMS] is False
    assert (await put(exporter, True)).json() == {"target": "mail-1", "enabled": True}
    assert mail_server.values[Command.TRANSFORMS] is True
    assert writes(exporter) == {"done": 3}


async def test_a_change_is_timestamped_and_writing_the_same_state_is_not_a_change(
    exporter: Exporter,
) -> None:
    name = "smtpstatus_transforms_changed_timestamp_seconds"
    assert name not in (await exporter.http.get("/probe?target=mail-1")).text
    await put(exporter, True)
    assert name not in (await exporter.http.get("/probe?target=mail-1")).text

    await put(exporter, False)

    assert f"\n{name} " in (await exporter.http.get("/probe?target=mail-1")).text
    assert f'{name}{{site="eu",target="mail-1"}} ' in (await exporter.http.get("/metrics")).text
    (state,) = (await exporter.http.get("/api/v1/targets")).json()["targets"]
    assert state["transforms_changed"] > 1_500_000_000


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic open-sesame", "open-sesame"]
)
async def test_without_the_api_token_nothing_is_written(
    exporter: Exporter, mail_server: MailServer, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await exporter.http.put(SWITCH, json={"enabled": False}, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert mail_server.asked == []
    assert writes(exporter) == {"denied": 1}


@pytest.mark.parametrize("token", ["apitoken-à", "à", "токен"])
async def test_a_non_ascii_api_token_is_compared_as_utf8(
    start: Start, mail_server: MailServer, token: str
) -> None:
    exporter = await start(one_target(mail_server).replace(API_TOKEN, json.dumps(token)))
    answers = [
        await exporter.http.put(
            SWITCH, json={"enabled": True}, headers={b"Authorization": b"Bearer " + given}
        )
        for given in (token.encode(), b" " + token.encode(), token.encode()[:-1])
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 401]


async def test_a_write_without_a_configured_api_token_is_403_with_the_remedy(
    start: Start, mail_server: MailServer
) -> None:
    exporter = await start(one_target(mail_server).replace(f"{{token: {API_TOKEN}}}", "{}"))

    answer = await put(exporter, False)

    assert answer.status_code == 403
    assert "token_file" in answer.json()["detail"]
    assert (await exporter.http.get(SWITCH)).json()["enabled"] is True


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"enabled": false}', "text/plain", 415),
        (b"enabled=false", "application/x-www-form-urlencoded", 415),
        (b'{"enabled": false}', None, 415),
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"false", "application/json", 422),
        (b'{"enabled": "false"}', "application/json", 422),
        (b'{"enabled": 0}', "application/json", 422),
        (b'{"enabled": null}', "application/json", 422),
        (b'{"enabled": false, "more": 1}', "application/json", 422),
        (b'{"enabled": false}\xff', "application/json", 422),
        (b" " * 5000, "application/json", 413),
    ],
)
async def test_an_invalid_body_changes_nothing(
    exporter: Exporter, mail_server: MailServer, body: bytes, content_type: str | None, status: int
) -> None:
    headers = AUTHORIZED | ({"Content-Type": content_type} if content_type else {})
    answer = await exporter.http.put(SWITCH, content=body, headers=headers)

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert mail_server.asked == []
    assert writes(exporter) == {"invalid": 1}


async def test_an_unknown_target_is_404(exporter: Exporter) -> None:
    for path in ("", "/transforms", "/probes"):
        answer = await exporter.http.get(f"/api/v1/targets/mail-9{path}")
        assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
    assert (await put(exporter, False, "/api/v1/targets/mail-9/transforms")).status_code == 404


async def test_a_dialect_without_a_switch_is_501(start: Start) -> None:
    async with running_mail_server(DIALECTS["group-11"]) as server:
        exporter = await start(
            one_target(server).replace("labels:", "dialect: group-11\n    labels:")
        )
        (state,) = (await exporter.http.get("/api/v1/targets")).json()["targets"]
        assert (state["can_switch"], state["transforms_enabled"]) == (False, None)
        assert (state["sent_bytes_total"], state["received_bytes_total"]) == (1000, 50234)

        for answer in (await put(exporter, False), await exporter.http.get(SWITCH)):
            assert answer.status_code == 501
            assert "group-11" in answer.json()["detail"]
        assert not any(command.name.startswith(("ENABLE", "DISABLE")) for command in server.asked)
        assert writes(exporter) == {"unsupported": 1}


@pytest.mark.parametrize("name", ["v0", "group-4"])
async def test_the_switch_works_in_every_dialect_that_has_one(start: Start, name: str) -> None:
    async with running_mail_server(DIALECTS[name]) as server:
        exporter = await start(
            one_target(server).replace("labels:", f"dialect: {name}\n    labels:")
        )

        assert (await put(exporter, False)).json()["enabled"] is False
        assert server.values[Command.TRANSFORMS] is False


async def test_a_server_that_rejects_is_502_and_a_silent_one_is_504(start: Start) -> None:
    async with (
        serve("127.0.0.1", 0, Token.parse("xxxxxxxx"), lambda command: 0) as locked,
        silence() as mute,
    ):
        exporter = await start(
            f"""
            timeout: 100ms
            targets:
              - {{name: locked, address: '127.0.0.1:{locked.port}', token: {TOKEN}}}
              - {{name: mute, address: '{mute}', token: {TOKEN}}}
              - {{name: closed, address: '127.0.0.1:1', token: {TOKEN}}}
            api: {{token: {API_TOKEN}}}
            """
        )
        for name, status, reason in [
            ("locked", 502, "authentication"),
            ("mute", 504, "timeout"),
            ("closed", 502, "unreachable"),
        ]:
            path = f"/api/v1/targets/{name}/transforms"
            for answer in (await exporter.http.get(path), await put(exporter, True, path)):
                problem = answer.json()
                assert (answer.status_code, problem["reason"]) == (status, reason)
        assert writes(exporter) == {"failed": 3}


async def test_a_server_that_does_not_keep_the_state_is_a_mismatch(
    exporter: Exporter, mail_server: MailServer
) -> None:
    class Stubborn(dict[Command, Any]):
        def __setitem__(self, command: Command, value: Any) -> None:
            pass

    mail_server.values = Stubborn(mail_server.values)
    answer = await put(exporter, False)

    assert (answer.status_code, answer.json()["reason"]) == (502, "contradiction")


async def test_every_write_is_one_line_in_the_log(
    exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await put(exporter, False)
    await exporter.http.put(SWITCH, json={"enabled": True}, headers={"Authorization": "Bearer x"})

    lines = [vars(record) for record in caplog.records if record.name == "exporter.audit"]
    fields = ("client", "target", "from", "to", "outcome")
    assert [[line[field] for field in fields] for line in lines] == [
        ["127.0.0.1", "mail-1", "on", "off", "done"],
        ["127.0.0.1", "mail-1", "unknown", "unknown", "denied"],
    ]
    assert API_TOKEN not in caplog.text


async def test_the_last_probes_and_the_last_failures_are_kept(
    exporter: Exporter, mail_server: MailServer
) -> None:
    mail_server.values.pop(Command.CONNECTIONS)
    await exporter.http.get("/probe?target=mail-1")
    mail_server.values[Command.CONNECTIONS] = 6
    for _ in range(12):
        await exporter.http.get("/probe?target=mail-1")

    kept = (await exporter.http.get("/api/v1/targets/mail-1/probes")).json()

    assert [probe["up"] for probe in kept["last"]] == [True] * 10
    assert [probe["reason"] for probe in kept["failed"]] == ["server"]
    assert kept["failed"][0]["error"] == "server returned: unexpected failure of the server"
    assert {probe["datagrams_sent"] for probe in kept["last"]} == {4}


async def test_the_last_probes_are_the_newest_after_the_wall_clock_was_set_back(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(10):
        await exporter.http.get("/probe?target=mail-1")
    monkeypatch.setattr("exporter.history.time", SimpleNamespace(time=lambda: 1000.0))
    await exporter.http.get("/metrics")

    kept = (await exporter.http.get("/api/v1/targets/mail-1/probes")).json()["last"]

    assert (len(kept), kept[-1]["at"]) == (10, 1000.0)


async def test_an_unexpected_error_of_a_write_is_answered_and_audited(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("secretpa")

    monkeypatch.setattr(exporter.service.reader, "connect", fail)
    answer = await exporter.http.put(SWITCH, json={"enabled": False}, headers=AUTHORIZED)

    assert (answer.status_code, answer.json()["reason"]) == (500, "internal")
    assert writes(exporter) == {"failed": 1}
    assert "Transforms not switched" in caplog.text or "Internal error" in caplog.text
    assert "secretpa" not in answer.text + caplog.text


async def test_denied_writes_are_counted_each_and_logged_once_a_minute_for_a_client(
    exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        await exporter.http.put(SWITCH, json={"enabled": True}, headers={"Authorization": "x"})

    assert [record.message for record in caplog.records].count("Transforms not switched") == 1
    assert writes(exporter)["denied"] == 20


async def test_denied_writes_of_one_ipv6_network_are_logged_once_a_minute(
    exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    limit, problem = LogLimit(), Problem(HTTPStatus.UNAUTHORIZED, "no token")
    for client in ("2001:db8::1", "2001:db8::2", "192.0.2.1", "2001:db8:0:1::1", "unix"):
        AuditRecord(client, "mail-1", problem=problem).log(exporter.service.own, limit)

    assert [vars(record)["client"] for record in caplog.records] == [
        *("2001:db8::1", "192.0.2.1", "2001:db8:0:1::1", "unix")
    ]


async def test_a_long_name_is_cut_in_the_log(
    exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/api/v1/targets/{'x' * 30_000}/transforms"
    answer = await exporter.http.put(path, json={"enabled": True}, headers=AUTHORIZED)

    assert answer.status_code == 404
    assert all(len(str(vars(record))) < 5_000 for record in caplog.records)
