"""Client addresses, schemes and paths of requests behind proxies."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from exporter.configuration.flags import parse
from exporter.http.middleware import Forwarded, Paths
from exporter.routes.context import HttpOptions
from tests.exporter.running import AUTHORIZED, Exporter, MailServer, Start, one_target

PROXIES = parse(["--web.trusted-proxies=10.0.0.0/8", "--web.trusted-proxies=fd00::/8"], {})


async def seen(request: Request) -> Response:
    client = request.client.host if request.client else None
    return JSONResponse([client, request.url.scheme, request.scope["path"]])


ECHO = Starlette(routes=[Route("/{path:path}", seen)])


async def ask(headers: dict[str, str], client: str = "10.0.0.1") -> list[str]:
    app = Forwarded(ECHO, PROXIES.trusted_proxies)
    transport = httpx.ASGITransport(app, client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as http:
        found: list[str] = (await http.get("/", headers=headers)).json()
    return found[:2]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("198.51.100.7, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.2,10.1.1.1", "192.0.2.1"),
        ("10.9.9.9, 10.0.0.2", "10.9.9.9"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711, fd00::2", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.3", "10.0.0.3"),
        ("192.0.2.1, nonsense, 10.0.0.2", "10.0.0.2"),
        ("unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
async def test_the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy(
    forwarded: str, client: str
) -> None:
    assert await ask({"X-Forwarded-For": forwarded}) == [client, "http"]


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("https, http", "http"),
        ("ftp", "http"),
        ("", "http"),
    ],
)
async def test_the_scheme_is_that_of_the_proxy(proto: str, scheme: str) -> None:
    assert await ask({"X-Forwarded-Proto": proto}) == ["10.0.0.1", scheme]


@pytest.mark.parametrize("client", ["192.0.2.9", "2001:db8::9", "127.0.0.1", "fe80::1%eth0"])
async def test_forwarded_headers_of_untrusted_clients_are_ignored(client: str) -> None:
    headers = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https"}

    assert await ask(headers, client) == [client, "http"]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
async def test_any_forwarded_value_yields_an_address(text: str) -> None:
    (client, _) = await ask({"X-Forwarded-For": text})

    assert httpx.URL(f"http://[{client}]" if ":" in client else f"http://{client}").host


async def test_a_proxy_on_a_unix_socket_is_trusted_if_configured() -> None:
    found = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope["client"])

    for proxies in ((None,), PROXIES.trusted_proxies):
        headers = [(b"x-forwarded-for", b"192.0.2.1")]
        scope = {"type": "http", "client": None, "scheme": "http", "headers": headers}
        await Forwarded(app, proxies)(scope, None, None)  # type: ignore[arg-type]

    assert found == [("192.0.2.1", 0), None]


@pytest.mark.parametrize(
    ("prefix", "path", "status", "routed"),
    [
        ("", "/metrics", 200, "/metrics"),
        ("", "//api//v1/", 200, "/api/v1/"),
        ("", "/%2F%2Fapi", 200, "/api"),
        ("", "/metrics%0A", 400, None),
        ("", "/a%00b", 400, None),
        ("", "/a%7f", 400, None),
        ("", "/caf%C3%A9", 200, "/café"),
        ("/a/b", "/a/b/metrics", 200, "/metrics"),
        ("/a/b", "//a//b//metrics", 200, "/metrics"),
        ("/a/b", "/a/b/", 200, "/"),
        ("/a/b", "/a/b", 308, None),
        ("/a/b", "/a/bc", 404, None),
        ("/a/b", "/metrics", 404, None),
    ],
)
async def test_paths_are_cleaned_and_the_prefix_is_removed(
    prefix: str, path: str, status: int, routed: str | None
) -> None:
    transport = httpx.ASGITransport(Paths(ECHO, prefix))
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as http:
        answer = await http.get(f"http://exporter{path}")

    assert answer.status_code == status
    if routed:
        assert answer.json()[2] == routed
    elif status == 308:
        assert answer.headers["location"] == "/a/b/"
    else:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/metrics%0A", "/probe%0A?target=mail-1", "/api/v1/targets%0D"])
async def test_a_control_character_in_a_path_is_a_bad_request(
    exporter: Exporter, mail_server: MailServer, path: str
) -> None:
    answer = await exporter.http.get(path)

    assert answer.status_code == 400
    assert not mail_server.asked


async def test_duplicate_slashes_do_not_bypass_cors_and_authentication(
    start: Start, mail_server: MailServer
) -> None:
    origin = "http://grafana.example"
    exporter = await start(
        one_target(mail_server).replace("api: {", f"api: {{cors_origins: ['{origin}'], ")
    )
    url = f"http://127.0.0.1:{exporter.port}//api//v1/targets/mail-1/transforms"
    answer = await exporter.http.put(
        url, json={"enabled": False}, headers={"Origin": origin, **AUTHORIZED}
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("name", [".", "..", "%2E%2E", "mail-1%2F..", "a%2Fb"])
async def test_a_target_name_that_looks_like_a_path_is_not_found(
    exporter: Exporter, name: str
) -> None:
    reader_url = f"http://127.0.0.1:{exporter.port}/api/v1/targets/{name}/transforms"
    answer = await exporter.http.get(httpx.URL(reader_url))

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("options", "host", "headers", "where"),
    [
        (HttpOptions(), "exporter:17030", {}, ("exporter:17030", "http", "/probe")),
        (
            HttpOptions(external_url="https://mon.example/smtp/", route_prefix="/smtp"),
            "10.0.0.1:17030",
            {},
            ("mon.example", "https", "/smtp/probe"),
        ),
        (
            HttpOptions(external_url="https://mon.example:8443/smtp"),
            "10.0.0.1:17030",
            {},
            ("mon.example:8443", "https", "/smtp/probe"),
        ),
        (
            HttpOptions(route_prefix="/smtp"),
            "exporter:17030",
            {},
            ("exporter:17030", "http", "/smtp/probe"),
        ),
        (
            HttpOptions(
                trusted_proxies=parse(["--web.trusted-proxies=127.0.0.1"], {}).trusted_proxies
            ),
            "mon.example",
            {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"},
            ("mon.example", "https", "/probe"),
        ),
    ],
)
async def test_service_discovery_uses_the_address_that_clients_use(
    start: Start,
    mail_server: MailServer,
    options: HttpOptions,
    host: str,
    headers: dict[str, str],
    where: tuple[str, str, str],
) -> None:
    exporter = await start(one_target(mail_server), options)
    answer = await exporter.http.get(
        f"{options.route_prefix}/sd", headers={"Host": host, **headers}
    )

    (group,) = answer.json()
    labels = group["labels"]
    assert (group["targets"], labels["__scheme__"], labels["__metrics_path__"]) == (
        [where[0]],
        *where[1:],
    )
    assert "instance" not in labels


async def test_every_path_is_below_the_route_prefix(start: Start, mail_server: MailServer) -> None:
    exporter = await start(one_target(mail_server), HttpOptions(route_prefix="/smtp"))

    for path in ("/", "/metrics", "/docs", "/-/healthy", "/api/v1/targets", "/assets/status.js"):
        assert (await exporter.http.get(f"/smtp{path}")).status_code == 200, path
        assert (await exporter.http.get(path)).status_code == 404, path


async def test_audit_lines_have_the_client_of_a_trusted_proxy(
    start: Start, mail_server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trusted = parse(["--web.trusted-proxies=127.0.0.1"], {}).trusted_proxies
    exporter = await start(one_target(mail_server), HttpOptions(trusted_proxies=trusted))
    await exporter.http.put(
        "/api/v1/targets/mail-1/transforms",
        json={"enabled": False},
        headers={"X-Forwarded-For": "192.0.2.7", **AUTHORIZED},
    )

    (record,) = [r for r in caplog.records if r.message == "Transforms switched"]
    assert vars(record)["client"] == "192.0.2.7"
