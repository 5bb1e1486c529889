"""Rules of Grafana's dashboard linter, and rules that keep dashboards readable and correct without data.

No Grafana runs in these tests: none can be installed where they run. The structure of a dashboard is checked here, and
its queries are sent to a real Prometheus in test_data.py.
"""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from grafana.source.__main__ import texts
from grafana.source.words import RUNBOOK
from protocol.errors import DiscardReason, FailureReason
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
    "overview": ["datasource", "job", "instance", "group"],
    "server": ["datasource", "job", "instance", "server"],
    "exporter": ["datasource", "exporter_job", "instance"],
    "control": ["datasource", "job", "instance", "target", "exporter_api"],
}
"""Where a name differs from another dashboard's, the drop-down must not carry the selection over."""
LABELS = {
    "job": ("Job", "job"),
    "exporter_job": ("Job", "job"),
    "instance": ("Instance", "instance"),
    "target": ("Server", "target"),
    "server": ("Server", "target"),
}
UNITS = {
    *("locale", "percentunit", "reqps", "ops", "pps", "Bps", "decbytes", "s", "dtdurations"),
    *("dateTimeFromNow", "none", "short"),
    *("suffix:down", "suffix:conn/s", "suffix:/s", "suffix:/min", "suffix:msg/s"),
    *("suffix:obj/s", "prefix:× "),
}
QUERIES = pytest.mark.parametrize("asked", queries(), ids=str)
EACH = pytest.mark.parametrize("name", sorted(DASHBOARDS))


def test_the_committed_dashboards_match_their_source() -> None:
    """After a change of grafana/source: python -m grafana.source."""
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}

    assert committed == texts()


@EACH
def test_a_dashboard_has_a_description_and_can_be_provisioned_anywhere(name: str) -> None:
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
def test_links_between_dashboards_keep_the_servers_and_the_time_range(name: str) -> None:
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
def test_every_panel_uses_the_selected_data_source(name: str) -> None:  # template-datasource
    named = [found["datasource"] for found in objects(DASHBOARDS[name]) if "datasource" in found]

    assert named
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in named)


@EACH
def test_variables_are_chained_and_multi_valued(name: str) -> None:  # template-job, -instance
    variables = {item["name"]: item for item in DASHBOARDS[name]["templating"]["list"]}

    assert list(variables) == VARIABLES[name]
    source = variables.pop("datasource")
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert source["label"] == "Data source"
    before: list[str] = []
    for key, variable in variables.items():
        assert variable["refresh"] == 2  # template-on-time-change-reload
        query = variable["query"]["query"]
        assert variable["definition"] == query
        if key not in LABELS:
            continue
        label, of = LABELS[key]
        assert variable["label"] == label
        assert variable["multi"]
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)  # template-label-promql
        assert found
        assert found[2] == of
        chained = {f'{LABELS[one][1]}=~"${one}"' for one in before}
        assert set(re.findall(r'\w+=~"\$\w+"', found[1])) == chained
        before.append(key)


@EACH
def test_only_a_variable_that_starts_with_all_offers_all(name: str) -> None:
    """Grafana selects All wherever it is offered and no other value is current."""
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable.get("includeAll"):
            assert variable["current"]["value"] == ["$__all"]
            assert variable["allValue"] == ".+"
        else:
            assert "allValue" not in variable


@EACH
def test_panels_have_titles_descriptions_queries_and_a_no_data_text(name: str) -> None:
    for panel in panels(name):
        assert panel["title"], panel  # panel-title-description
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["targets"], panel["title"]  # panel-no-targets
        if panel["type"] != "stat":
            assert len(panel["fieldConfig"]["defaults"]["noValue"]) > 10, panel["title"]
        assert not panel["fieldConfig"]["defaults"]["noValue"].startswith("Nothing is wrong")


@EACH
def test_stats_without_data_are_gray(name: str) -> None:
    """Without a mapping they would be green, the first threshold's colour, with text too small to read."""
    for panel in panels(name):
        if panel["type"] != "stat":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert len(defaults["noValue"]) == 1, panel["title"]
        if panel["options"]["reduceOptions"]["values"]:
            continue  # a text column: it has the column's colour
        specials = [one["options"] for one in defaults["mappings"] if one["type"] == "special"]
        (nothing,) = specials
        assert nothing["match"] == "null+nan"
        assert nothing["result"]["color"] == "gray"


@EACH
def test_state_timelines_have_no_thresholds(name: str) -> None:
    """Merged values would have the text and colour of the threshold instead of those of the mapping."""
    for panel in panels(name):
        if panel["type"] == "state-timeline":
            assert panel["options"]["mergeValues"]
            assert panel["fieldConfig"]["defaults"]["color"]["mode"] == "fixed"
            assert panel["fieldConfig"]["defaults"]["mappings"]


@EACH
def test_a_heatmap_colours_counts(name: str) -> None:
    for panel in panels(name):
        if panel["type"] == "heatmap":
            assert panel["fieldConfig"]["defaults"]["unit"] == "short"
            assert panel["options"]["cellValues"]["unit"] == "short"
            assert panel["options"]["yAxis"]["unit"] == "s"


@EACH
def test_a_tile_is_wide_enough_for_its_title(name: str) -> None:
    for panel in panels(name):
        if panel["type"] == "stat":
            width = panel["gridPos"]["w"]
            assert width >= 4, panel["title"]
            assert len(panel["title"]) <= 3 * width - 1, panel["title"]


@EACH
def test_the_columns_of_a_table_have_widths_that_fit(name: str) -> None:
    """Widths in pixels: a table as wide as the page has 1,260 in a window of 1,600 with the menu docked."""
    for panel in panels(name):
        if panel["type"] != "table":
            continue
        properties = [
            {entry["id"]: entry["value"] for entry in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
            if override["matcher"]["id"] == "byName"
        ]
        shown = [one for one in properties if not one.get("custom.hidden")]
        assert all(one["custom.width"] for one in shown), panel["title"]
        available = 1260 * panel["gridPos"]["w"] / 24
        assert sum(one["custom.width"] for one in shown) < available, panel["title"]
        assert panel["fieldConfig"]["defaults"]["custom"]["width"], panel["title"]


@EACH
def test_panels_have_units_or_value_mappings(name: str) -> None:  # panel-units
    for panel in panels(name):
        shown = panel["fieldConfig"]["defaults"]
        assert shown["unit"] in UNITS, panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            for entry in override["properties"]:
                assert entry["id"] != "unit" or entry["value"] in UNITS, panel["title"]


@EACH
def test_failures_are_never_drawn_green(name: str) -> None:
    """Without a colour of its own, the first series of a graph is green."""
    for panel in panels(name):
        if panel["type"] == "timeseries" and "{{reason}}" in json.dumps(panel["targets"]):
            colors = {
                override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
                for override in panel["fieldConfig"]["overrides"]
            }
            assert set(colors) >= set(DiscardReason) or set(colors) >= set(FailureReason)
            assert not any("green" in color for color in colors.values())


@EACH
def test_titles_and_ids_are_unique_and_panels_do_not_overlap(name: str) -> None:
    all_panels = DASHBOARDS[name]["panels"]
    inside = [panel for row in all_panels for panel in row.get("panels", ())]
    ids = [panel["id"] for panel in (*all_panels, *inside)]
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
def test_every_expression_filters_by_the_variables(asked: Asked) -> None:
    assert selectors(asked.expression)  # target-promql
    job = "exporter_job" if asked.dashboard == "exporter" else "job"
    for braces in re.findall(r"\{([^}]*)\}", asked.expression):  # target-job, target-instance
        matchers = set(re.findall(r'\w+=~"[^"]*"', braces))
        chosen = {f'job=~"${job}"', 'instance=~"$instance"'}
        # The alert that an exporter is missing has neither label.
        either = {f'job=~"${job}|"', 'instance=~"$instance|"'}
        assert matchers >= chosen or (matchers >= either and "alertname" in braces), braces
        if asked.dashboard == "server":
            assert 'target=~"$server"' in matchers


@QUERIES
def test_rates_use_the_rate_interval(asked: Asked) -> None:  # target-rate-interval
    for window in re.findall(r"i?rate\([^\[]*\[([^\]]+)\]", asked.expression):
        assert window == "$__rate_interval"
    for window in re.findall(r"increase\([^\[]*\[([^\]]+)\]", asked.expression):
        assert window == "$__rate_interval"


@QUERIES
def test_counters_are_never_shown_raw(asked: Asked) -> None:  # target-counter-agg
    counters = [
        name
        for selector in selectors(asked.expression)
        if (name := selector.name or "").endswith("_total")
    ]
    # The linter does not know resets(), and max_over_time() distinguishes a restart from a wrapped counter.
    reading = ("rate", "irate", "increase", "resets", "max_over_time")
    read = [metric for function, metric in ranges(asked.expression) if function in reading]

    assert counters == [metric for metric in read if metric.endswith("_total")]


def test_columns_and_links_of_tables_name_existing_fields() -> None:
    for name in DASHBOARDS:
        for panel in panels(name):
            if panel["type"] != "table":
                continue
            shown = panel["transformations"][-1]["options"]["renameByName"]
            _, *overrides = panel["fieldConfig"]["overrides"]
            overridden = {item["matcher"]["options"] for item in overrides}
            assert overridden == set(shown.values()), panel["title"]
            used = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
            assert used <= overridden
            assert {one["displayName"] for one in panel["options"]["sortBy"]} <= overridden


def test_an_empty_cell_of_a_table_is_not_explained_at_length() -> None:
    for name in DASHBOARDS:
        for panel in panels(name):
            if panel["type"] == "table":
                assert panel["fieldConfig"]["overrides"][0] == {
                    "matcher": {"id": "byRegexp", "options": ".*"},
                    "properties": [{"id": "noValue", "value": "–"}],
                }


def test_links_point_to_existing_dashboards() -> None:
    text = json.dumps(list(DASHBOARDS.values()))
    uids = {dashboard["uid"] for dashboard in DASHBOARDS.values()}

    assert set(re.findall(r"/d/([\w-]+)", text)) <= uids


def test_annotations_parse_and_mark_the_exact_time_and_direction_of_a_switch() -> None:
    for name, expression in annotations():
        assert selectors(expression), name
    for name in ("overview", "server"):
        on, off = DASHBOARDS[name]["annotations"]["list"][:2]
        assert (on["name"], off["name"]) == ("Transforms on", "Transforms off")
        assert on["useValueForTime"]
        assert off["useValueForTime"]


def test_alerts_link_to_the_runbook_and_to_the_server_at_their_time() -> None:
    (alerts,) = [panel for panel in panels("overview") if panel["title"] == "Alerts by server"]
    links = {found["url"] for found in objects(alerts) if "url" in found}

    assert f"{RUNBOOK}#${{__data.fields.Alert}}" in links
    assert any(
        "smtpstatus-server" in url and "from=${__data.fields.Before.numeric}" in url
        for url in links
    )


def test_alerts_are_sorted_by_severity() -> None:
    for panel in panels("overview"):
        if panel["title"].startswith("Alerts"):
            first, second = panel["options"]["sortBy"]
            assert (first["displayName"], second["displayName"]) == ("Severity", "Since")


def test_only_a_trend_is_made_of_a_time_series() -> None:
    """Grafana takes each table of one row, such as that of a single server, for a time series."""
    for name in DASHBOARDS:
        for panel in panels(name):
            for transformation in panel.get("transformations", ()):
                if transformation["id"] == "timeSeriesTable":
                    ranged = [target["refId"] for target in panel["targets"] if target["range"]]
                    assert transformation["filter"] == {"id": "byRefId", "options": ranged[0]}
