"""A dashboard around its panels: variables, links, annotations, and where each panel stands."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana.source.panel import DATA_SOURCE, Json

_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, each with its width; the grid is 24 wide."""

    title: str
    height: int
    panels: Sequence[tuple[int, Json]]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A mark in every panel where the expression has a sample; with `at_value` at the time that the value tells."""

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
        "refresh": "30s",
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


def label_variable(name: str, label: str, series: str, *, everything: bool = True) -> Json:
    """The values of a label of `series`; at first all, or else the first one."""
    query = f"label_values({series}, {name})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {
            "qryType": 1,
            "query": query,
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
        },
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]} if everything else {},
    }


def chained_variables(metric: str, *, target: str = "") -> list[Json]:
    """Data source, job and instance, each chosen among what the ones before leave; `target` is "all" or "first"."""
    variables = [
        data_source_variable(),
        label_variable("job", "Job", metric),
        label_variable("instance", "Instance", f'{metric}{{job=~"$job"}}'),
    ]
    if target:
        chosen = f'{metric}{{job=~"$job",instance=~"$instance"}}'
        variables.append(label_variable("target", "Server", chosen, everything=target == "all"))
    return variables


def to_server(field: str) -> Json:
    """A link from a table's row to the dashboard of the server that `field` names."""
    return {
        "title": "Its dashboard",
        "url": "/d/smtpstatus-server?var-datasource=${datasource}&${job:queryparam}&${instance:queryparam}"
        f"&var-target=${{__data.fields.{field}:percentencode}}&${{__url_time_range}}",
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
        "tooltip": "The other dashboards, for the same servers and the same time",
        "url": "",
    }


def _annotation(annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "enable": True,
        "hide": False,
        "iconColor": annotation.color,
        "datasource": DATA_SOURCE,
        "target": {"refId": "Anno", "expr": annotation.expression, "interval": "30s"},
        "titleFormat": annotation.title,
        "textFormat": "",
        "tagKeys": "target,instance",
        "useValueForTime": annotation.at_value,
    }


def _placed(rows: Sequence[Row]) -> list[Json]:
    """Every panel with its id and its place: rows below one another, each under its heading."""
    placed: list[Json] = []
    top = 0
    for row in rows:
        heading = {"type": "row", "title": row.title, "collapsed": False, "panels": []}
        placed.append(heading | _place(len(placed), 0, top, _WIDTH, 1))
        top += 1
        left = 0
        for width, panel in row.panels:
            if left + width > _WIDTH:
                top, left = top + row.height, 0
            placed.append(panel | _place(len(placed), left, top, width, row.height))
            left += width
        top += row.height
    return placed


def _place(index: int, left: int, top: int, width: int, height: int) -> Json:
    return {"id": index + 1, "gridPos": {"x": left, "y": top, "w": width, "h": height}}
