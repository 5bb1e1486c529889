"""The kinds of panels, as Grafana's schema has them. A panel gets its id and its place from the dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

Json = dict[str, Any]

DATA_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

_EMPTY_CELL: Json = {
    "matcher": {"id": "byRegexp", "options": ".*"},
    "properties": [{"id": "noValue", "value": "–"}],
}
"""Or each empty cell would say at length why the whole table may be empty."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how its series are called in a legend."""

    expression: str
    legend: str = "{{target}}"


@dataclass(frozen=True, slots=True)
class Look:
    """How values are shown. `empty` is what a panel without data says, and why there may be none."""

    unit: str = "short"
    empty: str = "No data: Prometheus has no such series for what is chosen above"
    decimals: int | None = None
    minimum: float | None = 0
    maximum: float | None = None
    steps: Sequence[tuple[float | None, str]] = ((None, "green"),)
    words: Mapping[str, tuple[str, str]] | None = None
    """For a value its word and colour; `null` stands for no value."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the value of an expression, or a label.

    With both it is a label that only this expression has, whose value is not shown.
    """

    title: str
    expression: str = ""
    label: str = ""
    look: Look | None = None
    width: int | None = None
    colored: bool = False
    link: Json | None = None
    actions: Sequence[Json] = ()


def time_series(
    title: str,
    description: str,
    queries: Sequence[Query],
    look: Look,
    *,
    stacked: bool = False,
) -> Json:
    custom: Json = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    legend = {
        "showLegend": True,
        "displayMode": "table",
        "placement": "bottom",
        "calcs": ["mean", "max", "lastNotNull"],
        "sortBy": "Max",
        "sortDesc": True,
    }
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return _panel("timeseries", title, description, _ranged(queries), look, options, custom)


def stat(title: str, description: str, query: Query, look: Look, *, named: bool = False) -> Json:
    """One number; `named` shows the legend beside it, for several."""
    options = {
        "colorMode": "background" if len(look.steps) > 1 or look.words else "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "value_and_name" if named else "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    target = _target(0, query) | {"instant": True, "range": False}
    return _panel("stat", title, description, [target], look, options)


def state_timeline(title: str, description: str, queries: Sequence[Query], look: Look) -> Json:
    """A bar for each series. A gap is a time without samples: each sample lasts for one step and no longer."""
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "perPage": 20,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"lineWidth": 0, "fillOpacity": 70, "spanNulls": False, "insertNulls": False}
    return _panel("state-timeline", title, description, _ranged(queries), look, options, custom)


def heatmap(title: str, description: str, query: Query, look: Look) -> Json:
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": look.unit},
        "legend": {"show": True},
    }
    target = _target(0, query) | {"format": "heatmap"}
    return _panel("heatmap", title, description, [target], look, options) | {"maxDataPoints": 120}


def bars(title: str, description: str, query: Query, look: Look) -> Json:
    """A bar for each series, for now alone."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "color",
        "showUnfilled": True,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    target = _target(0, query) | {"instant": True, "range": False}
    return _panel("bargauge", title, description, [target], look, options)


def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    look: Look,
    *,
    sort: str,
    descending: bool = False,
) -> Json:
    """A row for each combination of labels. Labels that have no column of their own come last."""
    asked = [column for column in columns if column.expression]
    targets = [
        _target(index, Query(column.expression, ""))
        | {"instant": True, "range": False, "format": "table"}
        for index, column in enumerate(asked)
    ]
    # With a single query Grafana calls the column "Value" alone.
    values = [f"Value #{letter}" for letter in ascii_uppercase] if len(asked) > 1 else ["Value"]
    fields = {column.title: value for column, value in zip(asked, values, strict=False)}
    names = {column.label or fields[column.title]: column.title for column in columns}
    unseen = [fields[column.title] for column in asked if column.label]
    organize = {
        "excludeByName": dict.fromkeys(("Time", *unseen), True),
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": sort, "desc": descending}],
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
    }
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}
    panel = _panel("table", title, description, targets, look, options, custom)
    panel["fieldConfig"]["overrides"] = [_EMPTY_CELL, *map(_override, columns)]
    panel["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": organize},
    ]
    return panel


def _panel(
    kind: str,
    title: str,
    description: str,
    targets: Sequence[Json],
    look: Look,
    options: Json,
    custom: Json | None = None,
) -> Json:
    defaults = {"noValue": look.empty, "custom": custom or {}} | _shown(look)
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATA_SOURCE,
        "targets": list(targets),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _shown(look: Look) -> Json:
    bounds = {"decimals": look.decimals, "min": look.minimum, "max": look.maximum}
    threshold = [{"value": value, "color": color} for value, color in look.steps]
    several = len(look.steps) > 1 or bool(look.words)
    return {
        "unit": look.unit,
        "color": {"mode": "thresholds" if several else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": threshold},
        "mappings": _mappings(look.words) if look.words else [],
    } | {name: value for name, value in bounds.items() if value is not None}


def _mappings(words: Mapping[str, tuple[str, str]]) -> list[Json]:
    results = {
        value: {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(words.items())
    }
    nothing = results.pop("null", None)
    mappings: list[Json] = [{"type": "value", "options": results}]
    if nothing:
        special = {"match": "null+nan", "result": nothing}
        mappings.append({"type": "special", "options": special})
    return mappings


def _ranged(queries: Sequence[Query]) -> list[Json]:
    return [_target(index, query) for index, query in enumerate(queries)]


def _target(index: int, query: Query) -> Json:
    return {
        "refId": ascii_uppercase[index],
        "datasource": DATA_SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "format": "time_series",
        "range": True,
        "instant": False,
    }


def _override(column: Column) -> Json:
    properties: Json = {}
    if column.look:
        shown = _shown(column.look)
        properties |= {name: shown[name] for name in ("unit", "mappings", "thresholds")}
        if column.look.decimals is not None:
            properties["decimals"] = column.look.decimals
    if column.width:
        properties["custom.width"] = column.width
    if column.colored:
        properties["color"] = {"mode": "thresholds"}
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    if column.link:
        properties["links"] = [column.link]
    if column.actions:
        properties["custom.cellOptions"] = {"type": "actions"}
        properties["actions"] = list(column.actions)
    return {
        "matcher": {"id": "byName", "options": column.title},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }
