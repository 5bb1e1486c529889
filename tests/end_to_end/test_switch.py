"""Transforms switched with curl: on for the next message, then off again."""

import json
import smtplib
import subprocess
from pathlib import Path
from typing import Any

from tests.support.processes import MailServer, exporter, mail_server
from tests.support.real import require

SHOUT = """#!/bin/sh
exec tr a-z A-Z
"""


def curl(*arguments: str) -> tuple[int, Any]:
    answer = subprocess.run(
        [require("curl"), "-sS", "-w", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = answer.stdout.rpartition("\n")
    return int(status), json.loads(body)


def stored(server: MailServer, body: str) -> str:
    """Sends a message; returns its stored body."""
    with smtplib.SMTP("127.0.0.1", server.smtp) as client:
        client.sendmail(
            "a@example.org", ["b@example.org"], f"Subject: s\r\n\r\n{body}\r\n".encode()
        )
    return server.mails("b")[-1].decode().splitlines()[-1]


def test_a_switch_with_curl_applies_to_the_next_message(tmp_path: Path) -> None:
    shout = tmp_path / "shout"
    shout.write_text(SHOUT)
    shout.chmod(0o755)
    authorized = [
        *("-X", "PUT", "-H", "Content-Type: application/json"),
        *("-H", "Authorization: Bearer letmeswitch"),
    ]
    with (
        mail_server(tmp_path / "mail", f"--transform={shout}", "--transforms=off") as server,
        exporter(
            SMTPSTATUS_TARGET=f"127.0.0.1:{server.status}",
            SMTPSTATUS_TOKEN="secretpa",
            SMTPSTATUS_API_TOKEN="letmeswitch",
        ) as url,
    ):
        name = f"127.0.0.1:{server.status}"
        transforms = f"{url}/api/v1/targets/{name}/transforms"

        assert curl(transforms) == (200, {"target": name, "enabled": False})
        assert stored(server, "quiet") == "quiet"
        assert curl(*authorized, transforms, "-d", '{"enabled": true}') == (
            200,
            {"target": name, "enabled": True},
        )
        assert curl(transforms) == (200, {"target": name, "enabled": True})
        assert stored(server, "loud") == "LOUD"
        assert curl(*authorized, transforms, "-d", '{"enabled": false}')[0] == 200
        assert stored(server, "quiet again") == "quiet again"


def test_an_unauthorized_or_invalid_request_changes_nothing(tmp_path: Path) -> None:
    with (
        mail_server(tmp_path / "mail") as server,
        exporter(
            SMTPSTATUS_TARGET=f"127.0.0.1:{server.status}",
            SMTPSTATUS_TOKEN="secretpa",
            SMTPSTATUS_API_TOKEN="letmeswitch",
        ) as url,
    ):
        transforms = f"{url}/api/v1/targets/127.0.0.1:{server.status}/transforms"
        put = ["-X", "PUT", transforms, "-H", "Content-Type: application/json"]
        token = ["-H", "Authorization: Bearer letmeswitch"]
        wrong = ["-H", "Authorization: Bearer letmesvitch"]
        unknown = f"{url}/api/v1/targets/unknown/transforms"

        assert curl(*put, "-d", '{"enabled": false}')[0] == 401
        assert curl(*put, *wrong, "-d", '{"enabled": false}')[0] == 401
        assert curl(*put, *token, "-d", '{"enabled": "no"}')[0] == 422
        assert curl(*put, *token, "-d", "{")[0] == 422
        assert curl(unknown)[0] == 404
        assert curl(transforms)[1]["enabled"] is True
