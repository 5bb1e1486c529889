"""Tables whose rows are joined by labels, and a stat that is a sentence made of such a row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

from grafana.source.expression import SAME_SERVER
from grafana.source.panel import (
    GRAY_WITHOUT_VALUE,
    NO_VALUE,
    Json,
    Look,
    Query,
    instant,
    panel,
    query_target,
    shown,
)

_EMPTY_CELL: Json = {
    "matcher": {"id": "byRegexp", "options": ".*"},
    "properties": [{"id": "noValue", "value": NO_VALUE}],
}
"""Otherwise each empty cell would have the text of an empty table."""
_NOTHING: Json = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": NO_VALUE, "color": "transparent"}},
}
"""Otherwise an empty cell would have the colour of the first threshold."""
_OTHER_WIDTH = 110
"""Of a column for a label that the table does not name, in pixels."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the value of an expression, or a label.

    With both, it is a label that only this expression has, and the value is not shown.
    A column with a trend is a small graph of the expression over the panel's time range; `trend` is an expression that
    has some server's labels at least. A complete column has a value in every row.
    A hidden column is there for links.
    """

    title: str
    expression: str = ""
    label: str = ""
    look: Look | None = None
    width: int = 0
    colored: bool = False
    centered: bool = False
    trend: str = ""
    complete: bool = False
    hidden: bool = False
    links: Sequence[Json] = ()
    actions: Sequence[Json] = ()


def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    look: Look,
    *,
    sort: Sequence[tuple[str, bool]],
    rows: str = "",
    hidden_labels: Sequence[str] = (),
    period: str = "",
) -> Json:
    """A row for each combination of labels. Labels without a column follow the columns.

    `sort` names columns, each with whether it descends. `period` is the time range where it is not the dashboard's.
    `rows` is an expression with all rows. Grafana joins rows by the labels that the results of all queries have: one
    empty result leaves none, and the join compares each row with each other, for seconds with 1,000 servers.
    """
    columns = [_with_labels(column, rows) for column in columns] if rows else columns
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": name, "desc": descending} for name, descending in sort],
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
    }
    custom = {
        "align": "auto",
        "cellOptions": {"type": "auto"},
        "width": _OTHER_WIDTH,
    }
    built = panel("table", title, description, _targets(columns), look, options, custom)
    built["fieldConfig"]["overrides"] = [_EMPTY_CELL, *map(_override, columns)]
    built["transformations"] = _joined(columns, hidden_labels)
    if period:
        built |= {"timeFrom": period, "hideTimeOverride": True}
    return built


def sentence(
    title: str,
    description: str,
    columns: Sequence[Column],
    template: str,
    links: Sequence[Json],
) -> Json:
    """A text for each row of the table, in the colour of the first column.

    `template` is that column's display name: it has the values of the others, and the word "is", by which the stat
    finds the column.
    """
    options = {
        "colorMode": "background_solid",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "name",
        "orientation": "horizontal",
        "text": {"titleSize": 17},
        "reduceOptions": {"calcs": [], "fields": "/ is /", "values": True},
    }
    built = panel("stat", title, description, _targets(columns), Look(), options)
    built["fieldConfig"]["defaults"]["noValue"] = NO_VALUE
    built["fieldConfig"]["defaults"]["mappings"] = [GRAY_WITHOUT_VALUE]
    overrides = [_override(column) for column in columns]
    overrides[0]["properties"] += [
        {"id": "displayName", "value": template},
        {"id": "links", "value": list(links)},
    ]
    built["fieldConfig"]["overrides"] = overrides
    built["transformations"] = _joined(columns, ())
    return built


def _with_labels(column: Column, rows: str) -> Column:
    """The column with the labels of one row at least, with NaN, which is shown as no value."""
    if not column.expression or column.complete:
        return column
    one = f"topk(1, {column.trend or rows})"
    return replace(column, expression=f"({column.expression}) or {SAME_SERVER} {one} * NaN")


def _targets(columns: Sequence[Column]) -> list[Json]:
    asked = [column for column in columns if column.expression]
    return [
        query_target(index, Query(column.expression, "", step="2m"))
        if column.trend
        else instant(index, Query(column.expression, "")) | {"format": "table"}
        for index, column in enumerate(asked)
    ]


def _joined(columns: Sequence[Column], hidden_labels: Sequence[str]) -> list[Json]:
    asked = [column for column in columns if column.expression]
    # A single query's column is called "Value" alone.
    fields = {
        column.title: f"Trend #{letter}"
        if column.trend
        else f"Value #{letter}"
        if len(asked) > 1
        else "Value"
        for column, letter in zip(asked, ascii_uppercase, strict=False)
    }
    names = {column.label or fields[column.title]: column.title for column in columns}
    unseen = [fields[column.title] for column in asked if column.label]
    organize = {
        "excludeByName": dict.fromkeys(("Time", *unseen, *hidden_labels), True),
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }
    # Without the filter it would also take each table of one row for a time series.
    trends = [
        {"id": "timeSeriesTable", "options": {}, "filter": {"id": "byRefId", "options": letter}}
        for column, letter in zip(asked, ascii_uppercase, strict=False)
        if column.trend
    ]
    return [*trends, {"id": "merge", "options": {}}, {"id": "organize", "options": organize}]


def _override(column: Column) -> Json:
    properties: Json = {}
    if column.look:
        look = shown(column.look)
        properties |= {name: look[name] for name in ("unit", "mappings", "thresholds")}
        if "null" not in (column.look.words or {}):
            properties["mappings"] = [*look["mappings"], _NOTHING]
        if column.look.decimals is not None:
            properties["decimals"] = column.look.decimals
    if column.label:
        properties["custom.filterable"] = True
    if column.width:
        properties["custom.width"] = column.width
    if column.centered:
        properties["custom.align"] = "center"
    if column.hidden:
        properties["custom.hidden"] = True
    if column.colored:
        properties["color"] = {"mode": "thresholds"}
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    if column.trend:
        properties["custom.cellOptions"] = {
            "type": "sparkline",
            "hideValue": True,
            "lineWidth": 1,
            "fillOpacity": 15,
        }
        properties["color"] = {"mode": "fixed", "fixedColor": "blue"}
    if column.links:
        properties["links"] = list(column.links)
    if column.actions:
        properties["custom.cellOptions"] = {"type": "actions"}
        properties["actions"] = list(column.actions)
    return {
        "matcher": {"id": "byName", "options": column.title},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }
