"""Actions of the control dashboard: the API accepts the requests that a browser sends for them."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPMessage
from typing import Any

import pytest

from tests.grafana.dashboards import DASHBOARDS, panels
from tests.grafana.stack import API_TOKEN, GRAFANA, Stack

ACTIONS = [
    action
    for panel in panels("control")
    for override in panel["fieldConfig"]["overrides"]
    for entry in override["properties"]
    if entry["id"] == "actions"
    for action in entry["value"]
]
SERVER = "group-4"
EACH = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action["title"])


def request_of(action: dict[str, Any], stack: Stack, token: str) -> urllib.request.Request:
    """The request that Grafana sends for an action in the row of a server."""
    values = {
        "${exporter_api}": stack.exporter,
        "${__data.fields.Server:percentencode}": urllib.parse.quote(SERVER, safe=""),
        "$token": token,
    }

    def interpolated(text: str) -> str:
        for name, value in values.items():
            text = text.replace(name, value)
        return text

    fetch = action["fetch"]
    headers = {name: interpolated(value) for name, value in fetch["headers"]}
    return urllib.request.Request(
        interpolated(fetch["url"]),
        data=interpolated(fetch["body"]).encode(),
        headers={
            **headers,
            "X-Grafana-Action": "1",
            "X-Grafana-Device-Id": "x",
            "Origin": GRAFANA,
        },
        method=fetch["method"],
    )


def test_there_is_an_action_for_each_state() -> None:
    assert [json.loads(action["fetch"]["body"]) for action in ACTIONS] == [
        {"enabled": True},
        {"enabled": False},
    ]


@EACH
def test_an_action_is_confirmed_and_keeps_no_token(action: dict[str, Any]) -> None:
    assert "${__data.fields.Server}" in action["confirmation"]
    assert action["oneClick"] is False
    assert [variable["key"] for variable in action["variables"]] == ["token"]
    assert ["Authorization", "Bearer $token"] in action["fetch"]["headers"]


def test_a_link_cannot_send_the_token_elsewhere() -> None:
    """With a variable that the URL can set, a crafted link could choose the address that the token is sent to."""
    (address,) = [
        variable
        for variable in DASHBOARDS["control"]["templating"]["list"]
        if variable["name"] == "exporter_api"
    ]

    assert address["skipUrlSync"] is True


@EACH
def test_an_actions_url_and_method_match_the_api(action: dict[str, Any], stack: Stack) -> None:
    with urllib.request.urlopen(f"{stack.exporter}/openapi.json", timeout=5) as answer:
        paths = json.load(answer)["paths"]
    path = action["fetch"]["url"].removeprefix("${exporter_api}")
    path = re.sub(r"\$\{[^}]+\}", "{name}", path)

    assert action["fetch"]["method"].lower() in paths[path]


@EACH
def test_an_action_switches_the_transforms(action: dict[str, Any], stack: Stack) -> None:
    with urllib.request.urlopen(request_of(action, stack, API_TOKEN), timeout=5) as answer:
        expected = json.loads(action["fetch"]["body"])
        assert json.load(answer) == {"target": SERVER, **expected}
        assert answer.headers["Access-Control-Allow-Origin"] == GRAFANA


@EACH
def test_a_mistyped_token_switches_nothing(action: dict[str, Any], stack: Stack) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request_of(action, stack, "mistyped"), timeout=5)
    with refused.value:
        assert refused.value.code == 401


@EACH
def test_the_api_answers_the_browsers_preflight_request(
    action: dict[str, Any], stack: Stack
) -> None:
    """The preflight request that precedes every such request, with the headers that Grafana adds."""
    names = ["authorization", "content-type", "x-grafana-action", "x-grafana-device-id"]
    asking = urllib.request.Request(
        request_of(action, stack, API_TOKEN).full_url,
        headers={
            "Origin": GRAFANA,
            "Access-Control-Request-Method": action["fetch"]["method"],
            "Access-Control-Request-Headers": ", ".join(names),
        },
        method="OPTIONS",
    )
    with urllib.request.urlopen(asking, timeout=5) as answer:
        headers: HTTPMessage = answer.headers

    assert headers["Access-Control-Allow-Origin"] == GRAFANA
    assert action["fetch"]["method"] in headers["Access-Control-Allow-Methods"]
    allowed = headers["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in names)
