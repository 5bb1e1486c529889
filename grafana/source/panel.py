"""Panels that show numbers, lines and text, in Grafana's schema. The dashboard sets their ids and positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

Json = dict[str, Any]

DATA_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
NO_VALUE = "–"
GRAY_WITHOUT_VALUE: Json = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": NO_VALUE, "color": "gray"}},
}
"""Without it a stat without a value has the colour of its first threshold: green."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, the legend of its series, and the least time between two points, such as `1m`."""

    expression: str
    legend: str = "{{target}}"
    step: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """How values are shown. `empty` is the text of a graph or table without data, with the likely cause."""

    unit: str = "locale"
    empty: str = "No data: Prometheus has no such series for the selection above"
    decimals: int | None = None
    minimum: float | None = 0
    maximum: float | None = None
    soft_maximum: float | None = None
    """The end of a graph's axis while no value is above it."""
    steps: Sequence[tuple[float | None, str]] = ((None, "text"),)
    words: Mapping[str, tuple[str, str]] | None = None
    """The text and colour of each value; `null` means no value."""
    colors: Mapping[str, str] = field(default_factory=dict)
    """The fixed colour of a series by its name."""


def time_series(
    title: str,
    description: str,
    queries: Sequence[Query],
    look: Look,
    *,
    stacked: bool = False,
    legend: bool = True,
) -> Json:
    custom: Json = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    if look.soft_maximum is not None:
        custom["axisSoftMax"] = look.soft_maximum
    shown = {
        "showLegend": legend,
        "displayMode": "table",
        "placement": "bottom",
        "calcs": ["lastNotNull", "max"],
        "sortBy": "Last *",
        "sortDesc": True,
    }
    options = {"legend": shown, "tooltip": {"mode": "multi", "sort": "desc"}}
    built = panel("timeseries", title, description, ranged(queries), look, options, custom)
    built["fieldConfig"]["overrides"] = [_fixed_color(*item) for item in look.colors.items()]
    return built


def stat(
    title: str,
    description: str,
    query: Query,
    look: Look,
    *,
    mode: str = "value",
    link: Json | None = None,
) -> Json:
    """One number for each series; `mode` is value, name, or value_and_name."""
    options = {
        "colorMode": "background" if len(look.steps) > 1 or look.words else "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": mode,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    built = panel("stat", title, description, [instant(0, query)], look, options)
    defaults = built["fieldConfig"]["defaults"]
    defaults["noValue"] = NO_VALUE
    defaults["links"] = [link] if link else []
    defaults["color"] = {"mode": "thresholds"}
    if "null" not in (look.words or {}):
        defaults["mappings"].append(GRAY_WITHOUT_VALUE)
    return built


def state_timeline(
    title: str,
    description: str,
    queries: Sequence[Query],
    look: Look,
    *,
    page: int = 0,
) -> Json:
    """A bar for each series, `page` of them at a time. A gap is a time without samples."""
    options: Json = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "perPage": page,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"lineWidth": 0, "fillOpacity": 70, "spanNulls": False, "insertNulls": False}
    built = panel("state-timeline", title, description, ranged(queries), look, options, custom)
    # With thresholds, merged values would have the threshold's text and colour instead of the mapping's.
    built["fieldConfig"]["defaults"]["color"] = {"mode": "fixed", "fixedColor": "gray"}
    return built


def heatmap(title: str, description: str, query: Query, look: Look) -> Json:
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short", "decimals": 0},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": look.unit},
        "legend": {"show": True},
    }
    target = query_target(0, query) | {"format": "heatmap"}
    built = panel("heatmap", title, description, [target], look, options)
    built["fieldConfig"]["defaults"]["unit"] = "short"  # of the counts; the y axis has its own
    return built | {"maxDataPoints": 120}


def bars(
    title: str, description: str, query: Query, look: Look, *, link: Json | None = None
) -> Json:
    """A bar for each series, of the present alone."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "text",
        "namePlacement": "left",
        "showUnfilled": True,
        "sizing": "manual",
        "minVizWidth": 8,
        "minVizHeight": 12,
        "maxVizHeight": 16,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    built = panel("bargauge", title, description, [instant(0, query)], look, options)
    built["fieldConfig"]["defaults"]["links"] = [link] if link else []
    return built


def text(title: str, content: str) -> Json:
    """Markdown."""
    options = {"mode": "markdown", "content": content}
    return {"type": "text", "title": title, "description": "", "targets": [], "options": options}


def panel(
    kind: str,
    title: str,
    description: str,
    targets: Sequence[Json],
    look: Look,
    options: Json,
    custom: Json | None = None,
) -> Json:
    defaults = {"noValue": look.empty, "custom": custom or {}} | shown(look)
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATA_SOURCE,
        "targets": list(targets),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def shown(look: Look) -> Json:
    """The part of a field's configuration that a `Look` describes."""
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
        value: {"text": label, "color": color, "index": index}
        for index, (value, (label, color)) in enumerate(words.items())
    }
    nothing = results.pop("null", None)
    mappings: list[Json] = [{"type": "value", "options": results}] if results else []
    if nothing:
        special = {"match": "null+nan", "result": nothing}
        mappings.append({"type": "special", "options": special})
    return mappings


def _fixed_color(name: str, color: str) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
    }


def ranged(queries: Sequence[Query]) -> list[Json]:
    return [query_target(index, query) for index, query in enumerate(queries)]


def instant(index: int, query: Query) -> Json:
    return query_target(index, query) | {"instant": True, "range": False}


def query_target(index: int, query: Query) -> Json:
    least = {"interval": query.step} if query.step else {}
    return least | {
        "refId": ascii_uppercase[index],
        "datasource": DATA_SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "format": "time_series",
        "range": True,
        "instant": False,
    }
