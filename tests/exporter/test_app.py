import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bcrypt
import httpx
import pytest

from exporter.app import create_app
from exporter.configuration import config
from exporter.http.web_file import WebFile
from exporter.service import Service
from tests.exporter.running import AUTHORIZED, Exporter, MailServer, Start, one_target

ORIGIN = "http://grafana.example:3000"
GET_ROUTES = [
    "/", "/metrics", "/probe?target=mail-1", "/sd", "/docs", "/openapi.json", "/-/healthy", "/-/ready",
    "/api/v1/targets", "/api/v1/targets/mail-1", "/api/v1/targets/mail-1/transforms",
]  # fmt: skip


@pytest.mark.parametrize("path", GET_ROUTES)
async def test_head_has_the_headers_of_get_and_no_body(exporter: Exporter, path: str) -> None:
    get = await exporter.http.get(path)
    head = await exporter.http.head(path)

    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/metrics/", 404),
        ("POST", "/metrics", 405),
        ("GET", "/-/reload", 405),
        ("DELETE", "/api/v1/targets/mail-1/transforms", 405),
        ("POST", "/api/v1/targets/mail-1/transforms", 405),
        ("OPTIONS", "/api/v1/targets", 405),
    ],
)
async def test_an_unknown_path_returns_a_problem_document(
    exporter: Exporter, method: str, path: str, status: int
) -> None:
    answer = await exporter.http.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail"}
    assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/metrics", "GET, HEAD"),
        ("/-/reload", "POST"),
        ("/api/v1/targets/mail-1/transforms", "GET, HEAD, PUT"),
    ],
)
async def test_an_unsupported_method_is_405_with_the_allowed_methods(
    exporter: Exporter, path: str, allowed: str
) -> None:
    answer = await exporter.http.request("PATCH", path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["detail"] == f"{path} allows {allowed}"


async def test_a_defect_returns_a_problem_document_without_internals(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Service) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(Service, "installed", property(broken), raising=False)
    answer = await exporter.http.get("/metrics")

    assert answer.status_code == 500
    assert "inside" not in answer.text
    assert answer.json()["detail"] == "internal error; see the exporter's log"


async def test_readiness_depends_on_the_service_and_health_does_not(exporter: Exporter) -> None:
    assert (await exporter.http.get("/-/ready")).status_code == 200
    exporter.service.ready = False

    assert (await exporter.http.get("/-/ready")).status_code == 503
    assert (await exporter.http.get("/-/healthy")).status_code == 200


async def test_a_reload_applies_the_whole_configuration_or_none(
    exporter: Exporter, mail_server: MailServer
) -> None:
    sample = exporter.service.own.registry.get_sample_value
    good = one_target(mail_server).replace("mail-1", "mail-2")
    exporter.path.write_text(good.replace("labels", "lables"))
    refused = await exporter.http.post("/-/reload", headers=AUTHORIZED)

    assert refused.status_code == 500
    assert (
        "config.yml:6: targets[0]: unknown key: did you mean labels?" in (refused.json()["detail"])
    )
    assert sample("smtpstatus_exporter_config_last_reload_successful") == 0
    assert (await exporter.http.get("/probe?target=mail-1")).status_code == 200

    exporter.path.write_text(good)
    assert (await exporter.http.post("/-/reload", headers=AUTHORIZED)).status_code == 200

    assert (await exporter.http.get("/probe?target=mail-1")).status_code == 404
    assert (await exporter.http.get("/probe?target=mail-2")).status_code == 200
    assert sample("smtpstatus_exporter_config_last_reload_successful") == 1
    assert sample("smtpstatus_exporter_config_reloads_total") == 2
    assert sample("smtpstatus_exporter_config_reload_failures_total") == 1
    assert (sample("smtpstatus_exporter_config_last_reload_success_timestamp_seconds") or 0) > 1e9


async def test_without_origins_cross_origin_requests_are_rejected(exporter: Exporter) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    preflight = await exporter.http.options("/api/v1/targets/mail-1/transforms", headers=asked)
    read = await exporter.http.get("/api/v1/targets", headers={"Origin": ORIGIN})

    for answer in (preflight, read):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_listed_origin_may_send_grafanas_requests(
    start: Start, mail_server: MailServer
) -> None:
    exporter = await start(
        one_target(mail_server).replace("api: {", f"api: {{cors_origins: ['{ORIGIN}'], ")
    )
    path = "/api/v1/targets/mail-1/transforms"
    headers = "authorization,content-type,x-grafana-action,x-grafana-device-id"
    preflight = await exporter.http.options(
        path,
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": headers,
        },
    )
    written = await exporter.http.put(
        path, json={"enabled": False}, headers=AUTHORIZED | {"Origin": ORIGIN}
    )
    foreign = await exporter.http.get(path, headers={"Origin": "http://evil.example"})

    assert preflight.status_code == 200
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert set(headers.split(",")) <= set(allowed.split(", "))
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    for answer in (preflight, written):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert written.json()["enabled"] is False
    assert "access-control-allow-origin" not in foreign.headers
    for answer in (preflight, written, foreign):
        assert "Origin" in answer.headers["vary"]
    elsewhere = await exporter.http.get("/metrics", headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_a_preflight_needs_no_password_but_the_request_does(
    tmp_path: Path, mail_server: MailServer
) -> None:
    web = tmp_path / "web.yml"
    web.write_text(
        "basic_auth_users: {prom: " + bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode() + "}"
    )
    path = tmp_path / "config.yml"
    path.write_text(
        one_target(mail_server).replace("api: {", f"api: {{cors_origins: ['{ORIGIN}'], ")
    )
    app = create_app(Service(lambda: config.load([path], {})), web=WebFile(web))
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:
        switch = "/api/v1/targets/mail-1/transforms"
        preflight = await client.options(switch, headers=headers)
        refused = await client.put(switch, json={"enabled": False}, headers={"Origin": ORIGIN})
        written = await client.put(
            switch, json={"enabled": False}, headers={"Origin": ORIGIN, **AUTHORIZED}
        )

    assert [preflight.status_code, refused.status_code, written.status_code] == [200, 401, 200]
    for answer in (preflight, refused, written):
        assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_the_openapi_document_lists_every_route_with_correct_examples(
    exporter: Exporter,
) -> None:
    description = (await exporter.http.get("/openapi.json")).json()

    assert set(description["paths"]) == {
        "/metrics",
        "/probe",
        "/sd",
        "/config",
        "/api/v1/targets",
        "/api/v1/targets/{name}",
        "/api/v1/targets/{name}/probes",
        "/api/v1/targets/{name}/transforms",
        "/-/healthy",
        "/-/ready",
        "/-/reload",
    }
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            await _replay(exporter, path, method, operation)


async def _replay(exporter: Exporter, path: str, method: str, operation: dict[str, Any]) -> None:
    """Send the example request, and compare the response with the example of the document."""
    parameters = {
        parameter["name"]: parameter["schema"]["examples"][0]
        for parameter in operation.get("parameters", [])
        if parameter["name"] != "debug"
    }
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    answer = await exporter.http.request(
        method,
        path.format(**parameters),
        params={key: value for key, value in parameters.items() if f"{{{key}}}" not in path},
        json=body.get("example"),
        headers=AUTHORIZED if "security" in operation else {},
    )
    (media, content), *_ = operation["responses"]["200"]["content"].items()

    assert answer.status_code == 200, (path, method, answer.text)
    assert answer.headers["content-type"].partition(";")[0] == media
    if media == "application/json":
        assert _shape(answer.json()) == _shape(content["example"])
    else:
        assert content["example"].split("{")[0].split(" ")[0] in answer.text


def _shape(document: Any) -> Any:
    """Keys and types of a JSON value; numbers and null count as the same type."""
    if isinstance(document, dict):
        return {key: _shape(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_shape(item) for item in document[:1]]
    return {bool: "flag", str: "text"}.get(type(document), "number")


@pytest.mark.parametrize("name", ["a\x86", "a\n", "\U000fffff", "\u00ad", "\u2028", "x" * 300])
async def test_a_name_is_a_bad_request_only_where_the_description_excludes_it(
    exporter: Exporter, name: str
) -> None:
    description = (await exporter.http.get("/openapi.json")).json()
    named = {path: found for path, found in description["paths"].items() if "{name}" in path}

    assert len(named) == 3
    for path, operations in named.items():
        for method, operation in operations.items():
            (parameter,) = operation["parameters"]
            described = re.fullmatch(parameter["schema"]["pattern"].strip("^$"), name)
            answer = await exporter.http.request(method, path.format(name=quote(name)))

            assert (answer.status_code == 400) is (described is None), path
            assert str(answer.status_code) in operation["responses"], path


async def test_an_empty_target_is_described_as_invalid(exporter: Exporter) -> None:
    description = (await exporter.http.get("/openapi.json")).json()
    target = description["paths"]["/probe"]["get"]["parameters"][0]

    assert target["schema"]["minLength"] == 1
    assert (await exporter.http.get("/probe?target=")).status_code == 400


async def test_the_error_examples_are_problem_documents(exporter: Exporter) -> None:
    description = (await exporter.http.get("/openapi.json")).json()
    problem = description["components"]["schemas"]["ProblemDocument"]

    for operations in description["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status != "200":
                    example = response["content"]["application/problem+json"]["example"]
                    assert set(problem["required"]) <= set(example) <= set(problem["properties"])
                    assert example["status"] == int(status)


async def test_the_api_page_loads_nothing_from_other_hosts(exporter: Exporter) -> None:
    answer = await exporter.http.get("/docs")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "PUT /api/v1/targets/{name}/transforms" in answer.text
    assert "https://" not in answer.text
    assert re.findall(r'src="([^"]*)"', answer.text) == ["assets/docs.js"]
    assert json.dumps("mail-1") in answer.text.replace("&quot;", '"')


async def test_reloads_requested_during_a_reload_share_the_next_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.yml"
    path.write_text("targets: []")
    loading, go = threading.Event(), threading.Event()
    go.set()

    def load() -> config.Config:
        loaded = config.load([path], {})
        loading.set()
        go.wait(5)
        return loaded

    service = Service(load)
    loading.clear()
    go.clear()
    first = asyncio.create_task(service.reload())
    await asyncio.to_thread(loading.wait, 5)
    path.write_text("targets: [{name: late, address: 'h:1', token: secretpa}]")
    others = [asyncio.create_task(service.reload()) for _ in range(15)]
    others[0].cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait([first, *others])

    assert [target.name for target in service.installed.config.targets] == ["late"]
    assert service.own.registry.get_sample_value("smtpstatus_exporter_config_reloads_total") == 2


async def test_a_reload_that_fails_unexpectedly_counts_as_failed_and_changes_nothing(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secretpa")

    sample = exporter.service.own.registry.get_sample_value
    monkeypatch.setattr("exporter.configuration.config.document.read", broken)
    answer = await exporter.http.post("/-/reload", headers=AUTHORIZED)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert (
        "internal error while loading the configuration: KeyError at " in answer.json()["detail"]
    )
    assert sample("smtpstatus_exporter_config_last_reload_successful") == 0
    assert sample("smtpstatus_exporter_config_reload_failures_total") == 1
    assert [record.message for record in caplog.records if record.name == "exporter.service"] == [
        "Configuration reload failed; keeping the previous configuration"
    ]
    assert "secretpa" not in answer.text + caplog.text
    assert "mail-1" in (await exporter.http.get("/metrics")).text

    monkeypatch.undo()
    assert (await exporter.http.post("/-/reload", headers=AUTHORIZED)).status_code == 200
    assert sample("smtpstatus_exporter_config_last_reload_successful") == 1


async def test_a_reload_on_a_hanging_file_system_fails_and_blocks_nothing(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def hanging(*_: object) -> None:
        answers.wait()

    monkeypatch.setattr("exporter.service._MAX_RELOAD_S", 0.2)
    monkeypatch.setattr("exporter.configuration.config.document.files", hanging)
    reloading = asyncio.create_task(exporter.http.post("/-/reload", headers=AUTHORIZED))
    assert (await exporter.http.get("/probe?target=mail-1")).status_code == 200
    answer = await reloading
    answers.set()

    assert (answer.status_code, answer.json()["detail"][:9]) == (500, "timeout: ")
    sample = exporter.service.own.registry.get_sample_value
    assert sample("smtpstatus_exporter_config_reload_failures_total") == 1


async def test_all_callers_of_a_shared_reload_receive_its_error(exporter: Exporter) -> None:
    exporter.path.write_text("nonsense: 1")

    answers = await asyncio.gather(
        *(exporter.http.post("/-/reload", headers=AUTHORIZED) for _ in range(5))
    )

    assert [answer.status_code for answer in answers] == [500] * 5
    assert (await exporter.http.get("/probe?target=mail-1")).status_code == 200
