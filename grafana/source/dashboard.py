"""A dashboard around its panels: variables, links, annotations and positions."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana.source.panel import DATA_SOURCE, Json

_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, each with its width of the grid's 24. Without a title, they continue the row before.

    A collapsed row loads when it is opened.
    """

    title: str
    height: int
    panels: Sequence[tuple[int, Json]]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Annotation:
    """A mark in every graph where the expression has a sample; with `at_value`, at the time that is its value."""

    name: str
    expression: str
    title: str
    color: str
    at_value: bool = False


def dashboard(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Json],
    rows: Sequence[Row],
    annotations: Sequence[Annotation] = (),
    period: str = "now-1h",
    refresh: str = "30s",
) -> Json:
    return {
        "id": None,
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["smtpstatus"],
        "schemaVersion": 42,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": refresh,
        "time": {"from": period, "to": "now"},
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "links": [_links()],
        "templating": {"list": list(variables)},
        "annotations": {"list": [_annotation(annotation) for annotation in annotations]},
        "panels": _placed(rows),
    }


def data_source_variable() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "current": {},
    }


def query_variable(name: str, label: str, query: str, kind: int) -> Json:
    """The values of a Prometheus query; `kind` is Grafana's number of the query's type."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {
            "qryType": kind,
            "query": query,
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
        },
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
    }


def label_variable(
    name: str, label: str, series: str, *, of: str = "", everything: bool = True
) -> Json:
    """The values of the label `of` (default: `name`); initially all, or else the first."""
    chosen = query_variable(name, label, f"label_values({series}, {of or name})", 1)
    chosen |= {"multi": True, "includeAll": everything}
    if everything:
        chosen |= {"allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}}
    return chosen


def chained_variables(metric: str, *, job: str = "job") -> list[Json]:
    """Data source, job and instance, each with the values that the previous ones leave."""
    return [
        data_source_variable(),
        label_variable(job, "Job", metric, of="job"),
        label_variable("instance", "Instance", f'{metric}{{job=~"${job}"}}'),
    ]


def to_server(field: str, *, since: str = "") -> Json:
    """A link from a table's row to the server in `field`: now, or from an hour before the time in `since`."""
    time = f"from=${{__data.fields.{since}.numeric}}&to=now" if since else "${__url_time_range}"
    return {
        "title": "Server at the time of the alert" if since else "Server",
        "url": "/d/smtpstatus-server?var-datasource=${datasource}&${job:queryparam}&${instance:queryparam}"
        f"&var-server=${{__data.fields.{field}:percentencode}}&{time}",
        "targetBlank": False,
    }


def to_exporter() -> Json:
    """A link to the dashboard of the exporter."""
    return {
        "title": "Exporter",
        "url": "/d/smtpstatus-exporter?var-datasource=${datasource}&${instance:queryparam}&${__url_time_range}",
        "targetBlank": False,
    }


def _links() -> Json:
    return {
        "type": "dashboards",
        "title": "SMTPStatus",
        "tags": ["smtpstatus"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "The other dashboards, with the same selection and time range",
        "url": "",
    }


def _annotation(annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "enable": True,
        "hide": False,
        "iconColor": annotation.color,
        "datasource": DATA_SOURCE,
        "target": {
            "refId": "Anno",
            "expr": annotation.expression,
            "interval": "1m" if annotation.at_value else "30s",
        },
        "titleFormat": annotation.title,
        "textFormat": "",
        "tagKeys": "target,instance",
        "useValueForTime": annotation.at_value,
    }


def _placed(rows: Sequence[Row]) -> list[Json]:
    """Every panel with its id and position: rows from top to bottom, each under its heading."""
    placed: list[Json] = []
    top = number = 0
    for row in rows:
        heading: Json = {
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "panels": [],
        }
        if row.title:
            number += 1
            placed.append(heading | _place(number, 0, top, _WIDTH, 1))
            top += 1
        left = 0
        inside: list[Json] = []
        for width, panel in row.panels:
            if left + width > _WIDTH:
                top, left = top + row.height, 0
            number += 1
            inside.append(panel | _place(number, left, top, width, row.height))
            left += width
        if row.collapsed:
            placed[-1]["panels"] = inside
        else:
            placed += inside
            top += row.height
    return placed


def _place(number: int, left: int, top: int, width: int, height: int) -> Json:
    return {"id": number, "gridPos": {"x": left, "y": top, "w": width, "h": height}}
