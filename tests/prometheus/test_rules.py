"""Alerts and recording rules: promtool's unit tests, the runbook, and what is derived from the rule files."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from grafana.source.words import RUNBOOK
from prometheus.source import OUTPUT, manifest
from protocol.errors import FailureReason
from tests.grafana.dashboards import DASHBOARDS
from tests.support.real import require

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "prometheus"
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
EACH_PROMTOOL = pytest.mark.parametrize("promtool", ["promtool", "promtool3"])
"""Debian's, of Prometheus 2, and that of the current Prometheus 3 (CONTRIBUTING.md)."""


def rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def run(promtool: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [require(promtool), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@EACH_PROMTOOL
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_rules_pass_their_unit_tests(path: Path, promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", path)


@EACH_PROMTOOL
def test_rules_and_both_configurations_are_valid(promtool: str) -> None:
    run(promtool, "check", "rules", *sorted((FOLDER / "rules").glob("*.yml")))
    for path in FOLDER.glob("prometheus-*.yml"):
        run(promtool, "check", "config", path)
    run(promtool, "check", "config", FOLDER / "prometheus.yml")


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_firing_and_a_non_firing_test(alert: str) -> None:
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
def test_an_alert_has_a_severity_and_absolute_links_to_runbook_and_dashboard(alert: str) -> None:
    rule = ALERTS[alert]
    annotations = rule["annotations"]

    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert annotations["runbook_url"] == f"{RUNBOOK}#{alert.lower()}"
    assert urlsplit(annotations["runbook_url"]).scheme == "https"
    dashboard = urlsplit(annotations["dashboard_url"])
    assert dashboard.path.removeprefix("/d/") in {one["uid"] for one in DASHBOARDS.values()}
    assert dashboard.scheme == "https"
    # An expression over a window does not need `for`.
    assert "for" in rule or re.search(r"\[15m\]", rule["expr"])


def test_one_command_sets_the_runbook_and_grafana_urls(tmp_path: Path) -> None:
    for folder in ("prometheus", "grafana"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    script = tmp_path / "prometheus/runbook-url.sh"

    for runbook in ("http://wiki.example/a", "https://docs.example/b?page=1"):
        subprocess.run([script, runbook, "https://watch.example"], check=True)
        texts = [
            path.read_text()
            for path in tmp_path.rglob("*")
            if path.suffix in (".yml", ".json", ".py") and "tests" not in path.parts
        ]
        assert sum(text.count(f"runbook_url: {runbook}#") for text in texts) == 2 * len(ALERTS)
        assert any(f'"url": "{runbook}#' in text for text in texts)
        assert not any(RUNBOOK in text or "grafana.example" in text for text in texts)


def test_the_prometheusrule_has_the_groups_of_the_rule_files() -> None:
    """After a change of rules/: python -m prometheus.source."""
    files = sorted((FOLDER / "rules").glob("*.yml"))

    assert OUTPUT.read_text() == manifest()
    assert yaml.safe_load(manifest())["spec"]["groups"] == [
        group for path in files for group in yaml.safe_load(path.read_text())["groups"]
    ]


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    page = (ROOT / "docs/runbook.md").read_text()
    sections = re.split(r"^## ", page, flags=re.M)[1:]
    headings = [section.splitlines()[0] for section in sections]

    assert headings == list(ALERTS)
    # The overview's links have the alert's name as it is, alerts the heading's anchor.
    assert re.findall(r'<a id="(\w+)"></a>', page) == list(ALERTS)
    for section in sections:
        for part in ("**Means**", "**Look**", "**Do**"):
            assert part in section, section.splitlines()[0]


def test_the_runbook_has_every_failure_reason() -> None:
    page = (ROOT / "docs/runbook.md").read_text()

    # A rejected token has an alert of its own.
    assert [reason for reason in FailureReason if f"`{reason}`" not in page] == [
        FailureReason.AUTHENTICATION
    ]


def test_alerts_need_no_recording_rule() -> None:
    recorded = {rule["record"] for rule in rules("recording.yml")}

    for alert, rule in ALERTS.items():
        assert not any(name in rule["expr"] for name in recorded), alert
