"""/config: the configuration in use, without its secrets."""

import bcrypt
import yaml

from tests.exporter.running import AUTHORIZED, Exporter, MailServer, Start, one_target

TEXT = """
timeout: 1500ms
targets:
  - {name: "mail \\"1\\"", address: "[::1]:7030", token: secretpa, labels: {site: "eu: #1"}}
  - {name: legacy, address: mail.example:2626, token_file: legacy.token, dialect: group-4}
probe:
  - {networks: [10.0.0.0/8, "fd00::/8"], token: otherpas}
  - {networks: [192.0.2.0/24], token: thirdpas, ports: [2626, 7000-7099]}
api: {token: open-sesame-please, cors_origins: [http://grafana.example]}
"""


async def test_the_configuration_in_use_is_shown_as_yaml_without_secrets(start: Start) -> None:
    directory_token = "legacytoken1"
    exporter = await start("targets: []")
    (exporter.path.parent / "legacy.token").write_text(directory_token[:8])
    exporter.path.write_text(TEXT)
    await exporter.service.reload()

    answer = await exporter.http.get("/config")
    shown = yaml.safe_load(answer.text)

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert shown == {
        "timeout": "1.5s",
        "attempts": 3,
        "targets": [
            {
                "name": 'mail "1"',
                "address": "[::1]:7030",
                "token": "<secret>",
                "dialect": "v0",
                "labels": {"site": "eu: #1"},
            },
            {
                "name": "legacy",
                "address": "mail.example:2626",
                "token": "<secret>",
                "dialect": "group-4",
                "labels": {},
            },
        ],
        "probe": [
            {"networks": ["10.0.0.0/8", "fd00::/8"], "token": "<secret>", "dialect": "v0"},
            {
                "networks": ["192.0.2.0/24"],
                "token": "<secret>",
                "dialect": "v0",
                "ports": [2626, "7000-7099"],
            },
        ],
        "api": {"token": "<secret>", "cors_origins": ["http://grafana.example"]},
    }
    for secret in ("secretpa", "otherpas", "thirdpas", "open-sesame", directory_token[:8]):
        assert secret not in answer.text
    assert "legacy.token" in answer.text


async def test_the_configuration_page_shows_time_and_source_of_the_configuration(
    exporter: Exporter,
) -> None:
    first = (await exporter.http.get("/config")).text.splitlines()[0]

    assert first.startswith("# loaded 20")
    assert first.endswith("Z from the environment")


async def test_the_configuration_page_names_the_dialects_that_it_describes(start: Start) -> None:
    exporter = await start(
        "dialects: {mine: {signature: abcd, statuses: {done: 0},"
        " commands: {connections: {code: 9}},"
        " request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13},"
        " response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}}}\ntargets: []"
    )

    assert (
        "\n# dialect mine: reads connections (09); writes nothing\n"
        in (await exporter.http.get("/config")).text
    )


async def test_a_rejected_configuration_is_not_shown(exporter: Exporter) -> None:
    before = (await exporter.http.get("/config")).text
    exporter.path.write_text("targets: [{name: new}]")
    await exporter.http.post("/-/reload", headers=AUTHORIZED)

    assert (await exporter.http.get("/config")).text == before


async def test_the_configuration_page_requires_a_password_if_configured(
    start: Start, mail_server: MailServer
) -> None:
    digest = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
    exporter = await start(one_target(mail_server), web=f"basic_auth_users: {{anna: {digest}}}")

    assert (await exporter.http.get("/config")).status_code == 401
    assert (await exporter.http.get("/config", auth=("anna", "open sesame"))).status_code == 200
