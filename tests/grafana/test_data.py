"""Queries of the dashboards and rules, run by a real Prometheus that scrapes the exporter in both shipped ways."""

import re
import urllib.request
from math import isfinite, isnan
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from grafana.source.words import REASONS
from protocol.errors import FailureReason
from tests.grafana.dashboards import DASHBOARDS, ROOT, Asked, annotations, queries
from tests.grafana.promql import filled, selectors
from tests.grafana.stack import Stack

JOBS = ("smtpstatus", "smtpstatus-fleet")
PROGRAMS = ("prometheus", "prometheus3")
EACH_PROGRAM = pytest.mark.parametrize("program", PROGRAMS)
BUILT_IN = {"up", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE"}
EMPTY_WITHOUT_EVENTS = {
    # Nothing restarted, went down or recovered; a subquery's steps are a minute apart.
    *("overview: What changed A", "overview: What changed B", "overview: What changed C"),
    *("server: State B", "server: State D", "server: State F"),
}
NOT_OF_A_QUIET_SERVER = {
    # It has no error, was not switched, and speaks version 0.
    *("server: Messages per second A", "server: State C"),
    *("server: Bytes in each direction A", "server: Bytes in each direction B"),
    "control: Servers that can be switched C",
}
QUIET = [
    asked
    for asked in queries()
    if asked.dashboard in ("server", "control")
    and str(asked) not in NOT_OF_A_QUIET_SERVER | EMPTY_WITHOUT_EVENTS
]
ZERO_WHEN_QUIET = re.compile(r"^\(?rate\(|resets\(|changes\(|retransmissions|scrape_error")


def test_every_failure_reason_has_a_label() -> None:
    assert set(REASONS) == set(FailureReason)


def values(samples: list[dict[str, Any]]) -> list[float]:
    """The values; in tables, NaN is a cell without a value."""
    found = [float(sample["value"][1]) for sample in samples]
    return [value for value in found if not isnan(value)]


@EACH_PROGRAM
@pytest.mark.parametrize("asked", queries(), ids=str)
def test_every_query_of_every_panel_returns_data(asked: Asked, program: str, stack: Stack) -> None:
    found = values(stack.ask(filled(asked.expression), program))

    assert found or str(asked) in EMPTY_WITHOUT_EVENTS
    assert all(isfinite(value) for value in found), found


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("asked", QUIET, ids=str)
def test_an_idle_server_shows_zeros_instead_of_gaps(asked: Asked, job: str, stack: Stack) -> None:
    found = values(stack.ask(filled(asked.expression, job, "quiet")))

    assert found
    assert all(isfinite(value) for value in found), found
    if ZERO_WHEN_QUIET.search(asked.expression):
        assert not any(found), found


@pytest.mark.parametrize(
    "asked",
    [one for one in queries() if one.dashboard == "overview" and one.panel["type"] != "table"],
    ids=str,
)
def test_the_overview_draws_few_series_for_any_number_of_servers(
    asked: Asked, stack: Stack
) -> None:
    lines = stack.ask(filled(asked.expression))
    reasons = {line["metric"]["reason"] for line in lines if "reason" in line["metric"]}

    assert reasons <= {*FailureReason, "none"}
    assert len(lines) - len(reasons) <= 10 < len(stack.ask("smtpstatus_connections_total"))


@pytest.mark.parametrize("job", JOBS)
def test_a_failing_server_shows_its_failure_reason(job: str, stack: Stack) -> None:
    (why,) = [asked for asked in queries() if str(asked) == "overview: All servers B"]
    found = stack.ask(filled(why.expression, job))

    reasons = {row["metric"]["target"]: row["metric"].get("reason") for row in found}

    assert {server: reason for server, reason in reasons.items() if reason} == {
        "closed": "unreachable",
        "locked": "authentication",
    }


def test_tables_get_the_same_labels_from_all_their_queries(stack: Stack) -> None:
    """Rows are merged by their labels: an additional label, or the metric's name, would prevent that."""
    for asked in queries():
        if asked.panel["type"] != "table" or "Alerts" in asked.panel["title"]:
            continue
        allowed = {"job", "instance", "target"}
        if "by (reason" in asked.expression or "scrape_error" in asked.expression:
            allowed.add("reason")
        for sample in stack.ask(filled(asked.expression)):
            assert set(sample["metric"]) <= allowed, str(asked)


def test_a_switch_is_annotated_with_its_time_and_direction(stack: Stack) -> None:
    on, off = (
        [
            stack.ask(filled(mark, "smtpstatus"))
            for _, mark in annotations()
            if "changed_timestamp" in mark and mark.endswith(word)
        ]
        for word in ("== 1", "== 0")
    )

    assert on == [[], []]  # of the overview and of the server
    for (sample,) in off:
        assert sample["metric"]["target"] == "group-4"
        assert abs(float(sample["value"][1]) / 1000 - sample["value"][0]) < 120


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_has_values(name: str, stack: Stack) -> None:
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        kind, inner = variable["definition"].removesuffix(")").split("(", 1)
        if kind == "label_values":
            series, label = inner.rsplit(", ", 1)
            path, selector = f"/api/v1/label/{label}/values", filled(series)
            assert stack.prometheus.get(path, **{"match[]": selector})
        elif kind == "label_names":
            selector = f'{{__name__=~".*{inner}.*"}}'
            names = stack.prometheus.get("/api/v1/labels", **{"match[]": selector})
            assert [one for one in names if re.search(variable["regex"].strip("/"), one)]
        else:
            assert stack.ask(filled(inner))


def rules() -> list[dict[str, Any]]:
    groups = [
        group
        for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_reads_existing_series(rule: dict[str, Any], stack: Stack) -> None:
    for selector in selectors(rule["expr"]):
        assert stack.ask(str(selector)), str(selector)


@EACH_PROGRAM
def test_prometheus_evaluates_every_rule_without_an_error(program: str, stack: Stack) -> None:
    groups = stack.served(program).get("/api/v1/rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]

    assert len(loaded) == len(rules())
    assert {(rule["health"], rule.get("lastError", "")) for rule in loaded} == {("ok", "")}


def exported(stack: Stack) -> set[str]:
    """Names of the series on /metrics, of histograms without the suffix."""
    with urllib.request.urlopen(f"{stack.exporter}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        family.name if family.type == "histogram" else sample.name
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def used() -> set[str]:
    expressions = [asked.expression for asked in queries()]
    expressions += [expression for _, expression in annotations()]
    expressions += [rule["expr"] for rule in rules()]
    names = {selector.name or "" for text in expressions for selector in selectors(text)}
    return {re.sub(r"(?<=_seconds)_(bucket|sum|count)$", "", name) for name in names}


def test_every_exported_metric_is_used_and_every_used_one_exported(stack: Stack) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}

    assert used() - BUILT_IN - recorded == exported(stack)


def test_every_recorded_series_is_used() -> None:
    assert {rule["record"] for rule in rules() if "record" in rule} <= used()


def test_both_ways_of_scraping_give_the_same_series(stack: Stack) -> None:
    """Dashboards and alerts work with either. Only the errors differ: /probe reports the zeros too."""
    query = '{job="JOB",__name__=~"smtpstatus_.+",__name__!~"smtpstatus_(exporter_|scrape_error).+|.+_error"}'
    one, fleet = (
        [
            {name: value for name, value in sample["metric"].items() if name != "job"}
            for sample in stack.ask(query.replace("JOB", job))
        ]
        for job in JOBS
    )

    assert sorted(map(str, one)) == sorted(map(str, fleet))
    assert not stack.ask('smtpstatus_up{job="smtpstatus-exporter"}')
    assert stack.ask('smtpstatus_exporter_targets{job="smtpstatus-exporter"}')


def test_every_server_belongs_to_exactly_one_shard(stack: Stack) -> None:
    def servers(job: str) -> set[str]:
        return {
            sample["metric"]["target"] for sample in stack.ask(f'smtpstatus_up{{job="{job}"}}')
        }

    first, second = servers("shard-0"), servers("shard-1")

    assert first
    assert second
    assert first.isdisjoint(second)
    assert first | second == servers("smtpstatus")
