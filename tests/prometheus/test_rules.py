"""Alerts and recording rules: promtool's unit tests, and the runbook in step."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from protocol.errors import FailureReason
from tests.support.real import require

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "prometheus"
TESTS = sorted((FOLDER / "tests").glob("*.yml"))


def rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [require("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_unit_tests_say(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def test_the_rules_and_both_configurations_are_valid() -> None:
    promtool("check", "rules", *sorted((FOLDER / "rules").glob("*.yml")))
    for path in FOLDER.glob("prometheus*.yml"):
        promtool("check", "config", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_firing_and_not_firing(alert: str) -> None:
    cases = [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == alert
    ]

    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_what_how_bad_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]

    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.lower()}"
    # What looks back over a window itself needs no waiting.
    assert "for" in rule or re.search(r"\[15m\]", rule["expr"])


def test_the_runbook_has_a_paragraph_for_each_alert_and_for_no_other() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/runbook.md").read_text(), flags=re.M)[1:]
    headings = [section.splitlines()[0] for section in sections]

    assert headings == list(ALERTS)
    for section in sections:
        for part in ("**Means**", "**Look**", "**Do**"):
            assert part in section, section.splitlines()[0]


def test_the_runbook_knows_every_reason() -> None:
    page = (ROOT / "docs/runbook.md").read_text()

    # A wrong token has an alert of its own.
    assert [reason for reason in FailureReason if f"`{reason}`" not in page] == [
        FailureReason.AUTHENTICATION
    ]


def test_alerts_need_no_recording_rule() -> None:
    recorded = {rule["record"] for rule in rules("recording.yml")}

    for alert, rule in ALERTS.items():
        assert not any(name in rule["expr"] for name in recorded), alert
