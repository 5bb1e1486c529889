"""The rules of Grafana's dashboard linter, and what else makes a dashboard work wherever it is provisioned.

No Grafana takes part in these tests: none is to be had where they run. What a dashboard is made of is checked by rule
here, and each of its queries is asked of a real Prometheus in test_data.py.
"""

import json
import re
from itertools import combinations
from typing import Any

import pytest
from promql_parser import MatchOp, VectorSelector

from grafana.source.__main__ import texts
from tests.grafana.dashboards import (
    DASHBOARDS,
    FOLDER,
    Asked,
    annotations,
    panels,
    queries,
)
from tests.grafana.promql import ranges, selectors

VARIABLES = {
    "overview": ["datasource", "job", "instance", "target"],
    "server": ["datasource", "job", "instance", "target"],
    "exporter": ["datasource", "job", "instance"],
    "control": ["datasource", "job", "instance", "target", "exporter_api"],
}
UNITS = {
    *("short", "percentunit", "cps", "reqps", "ops", "pps", "Bps", "bytes", "s"),
    "dateTimeFromNow",
}
QUERIES = pytest.mark.parametrize("asked", queries(), ids=str)
EACH = pytest.mark.parametrize("name", sorted(DASHBOARDS))


def test_the_files_are_what_the_source_makes() -> None:
    """After a change of grafana/source: python -m grafana.source."""
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}

    assert committed == texts()


@EACH
def test_a_dashboard_says_what_it_is_and_may_be_provisioned_anywhere(name: str) -> None:
    dashboard = DASHBOARDS[name]

    assert dashboard["uid"] == f"smtpstatus-{name}"
    assert dashboard["id"] is None
    assert dashboard["title"]
    assert dashboard["description"]
    assert dashboard["tags"] == ["smtpstatus"]
    assert 30 <= dashboard["schemaVersion"] <= 42
    assert dashboard["editable"] is False  # uneditable-dashboard
    assert not re.search(r"__inputs|__requires|\$\{DS_", json.dumps(dashboard))


@EACH
def test_dashboards_lead_to_each_other_with_the_same_servers_and_time(name: str) -> None:
    (link,) = DASHBOARDS[name]["links"]

    assert (link["type"], link["tags"]) == ("dashboards", ["smtpstatus"])
    assert link["includeVars"]
    assert link["keepTime"]


def objects(value: Any) -> list[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, list):
        return [found for item in value for found in objects(item)]
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in objects(item))]
    return []


@EACH
def test_every_data_source_is_the_one_that_is_chosen(name: str) -> None:  # template-datasource
    named = [found["datasource"] for found in objects(DASHBOARDS[name]) if "datasource" in found]

    assert named
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in named)


@EACH
def test_variables_are_chained_and_take_several_values(
    name: str,
) -> None:  # template-job, -instance
    variables = {item["name"]: item for item in DASHBOARDS[name]["templating"]["list"]}

    assert list(variables) == VARIABLES[name]
    source = variables.pop("datasource")
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert source["label"] == "Data source"
    labels = {"job": "Job", "instance": "Instance", "target": "Server"}
    before: list[str] = []
    for key, variable in variables.items():
        if key == "exporter_api":
            continue
        assert variable["label"] == labels[key]
        assert (variable["multi"], variable["includeAll"]) == (True, True)
        assert variable["allValue"] == ".+"
        assert variable["refresh"] == 2  # template-on-time-change-reload
        query = variable["query"]["query"]
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)  # template-label-promql
        assert found
        assert found[2] == key
        assert matchers(selectors(found[1])[0]) == {f'{one}=~"${one}"' for one in before}
        assert variable["definition"] == query
        before.append(key)


def matchers(selector: VectorSelector) -> set[str]:
    """The matchers as text, with what a variable was filled with turned back."""
    return {
        f'{matcher.name}=~"${matcher.name}"'
        for matcher in selector.matchers.matchers
        if matcher.op == MatchOp.Re and matcher.value == ".+"
    }


@EACH
def test_panels_have_titles_descriptions_queries_and_say_why_they_are_empty(name: str) -> None:
    for panel in panels(name):
        assert panel["title"], panel  # panel-title-description
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["targets"], panel["title"]  # panel-no-targets
        assert len(panel["fieldConfig"]["defaults"]["noValue"]) > 10, panel["title"]


@EACH
def test_panels_have_units_or_words(name: str) -> None:  # panel-units
    for panel in panels(name):
        shown = panel["fieldConfig"]["defaults"]
        assert shown["unit"] in UNITS, panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            for entry in override["properties"]:
                assert entry["id"] != "unit" or entry["value"] in UNITS, panel["title"]


@EACH
def test_titles_and_ids_are_unique_and_panels_do_not_overlap(name: str) -> None:
    all_panels = DASHBOARDS[name]["panels"]
    ids = [panel["id"] for panel in all_panels]
    titles = [panel["title"] for panel in panels(name)]

    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    for first, second in combinations((panel["gridPos"] for panel in all_panels), 2):
        assert (
            first["x"] + first["w"] <= second["x"]
            or second["x"] + second["w"] <= first["x"]
            or first["y"] + first["h"] <= second["y"]
            or second["y"] + second["h"] <= first["y"]
        )
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in all_panels)


@QUERIES
def test_an_expression_selects_what_the_variables_choose(asked: Asked) -> None:
    found = selectors(asked.expression)  # target-promql

    assert found
    for selector in found:  # target-job, target-instance
        assert matchers(selector) >= {'job=~"$job"', 'instance=~"$instance"'}, selector.name


@QUERIES
def test_rates_take_the_rate_interval(asked: Asked) -> None:  # target-rate-interval
    for window in re.findall(r"i?rate\([^\[]*\[([^\]]+)\]", asked.expression):
        assert window == "$__rate_interval"
    for window in re.findall(r"increase\([^\[]*\[([^\]]+)\]", asked.expression):
        assert window in ("$__rate_interval", "$__range")


@QUERIES
def test_counters_are_never_shown_as_they_are(asked: Asked) -> None:  # target-counter-agg
    counters = [
        name
        for selector in selectors(asked.expression)
        if (name := selector.name or "").endswith("_total")
    ]
    # The linter does not know resets(), which reads a counter as rate() does.
    reading = ("rate", "irate", "increase", "resets")
    read = [metric for function, metric in ranges(asked.expression) if function in reading]

    assert counters == [metric for metric in read if metric.endswith("_total")]


def test_columns_of_tables_and_links_name_what_is_there() -> None:
    for name in DASHBOARDS:
        for panel in panels(name):
            if panel["type"] != "table":
                continue
            shown = panel["transformations"][1]["options"]["renameByName"]
            _, *overrides = panel["fieldConfig"]["overrides"]
            overridden = {item["matcher"]["options"] for item in overrides}
            assert overridden == set(shown.values()), panel["title"]
            used = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
            assert used <= overridden
            assert panel["options"]["sortBy"][0]["displayName"] in overridden


def test_an_empty_cell_of_a_table_is_not_explained_at_length() -> None:
    for name in DASHBOARDS:
        for panel in panels(name):
            if panel["type"] == "table":
                assert panel["fieldConfig"]["overrides"][0] == {
                    "matcher": {"id": "byRegexp", "options": ".*"},
                    "properties": [{"id": "noValue", "value": "–"}],
                }


def test_links_lead_to_dashboards_that_are_here() -> None:
    text = json.dumps(list(DASHBOARDS.values()))
    uids = {dashboard["uid"] for dashboard in DASHBOARDS.values()}

    assert set(re.findall(r"/d/([\w-]+)", text)) <= uids


def test_annotations_parse_and_mark_the_exact_moment_of_a_switch() -> None:
    for name, expression in annotations():
        assert selectors(expression), name
    for name in ("overview", "server"):
        first = DASHBOARDS[name]["annotations"]["list"][0]
        assert first["name"] == "Transforms switched"
        assert first["useValueForTime"]
