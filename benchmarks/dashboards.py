"""Prometheus CPU time of one refresh of the overview, compared with the overview of commit e140c29.

Both sets of queries are sent as Grafana sends them, over the same blocks.
"""

import json
import re
import statistics
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.history import History
from benchmarks.process import running, until
from benchmarks.ratio import Ratio, at_most
from benchmarks.scrapers import fetch

_ROOT = Path(__file__).parents[1]
_NOW = _ROOT / "grafana/dashboards/overview.json"
_BEFORE = Path(__file__).parent / "overview_e140c29.json"
_PAGE = 1380
"""The width of a dashboard in pixels, in a window of 1,600 with the menu."""
_STEPS = {
    1.5: 1,
    3.5: 2,
    7.5: 5,
    12.5: 10,
    17.5: 15,
    25: 20,
    45: 30,
    90: 60,
    210: 120,
    450: 300,
    750: 600,
}
"""Grafana's rounding of intervals, in seconds."""
_BOUND = 1 / 8


@dataclass(frozen=True, slots=True)
class Query:
    """An expression; `step` in seconds, 0 for an instant query; `hours` where it is not the dashboard's range."""

    expression: str
    step: int
    hours: float


def measure(bench: Bench) -> list[Ratio]:
    if not peers.installed("prometheus", "promtool"):
        return []
    form = bench.form
    end = int(time.time()) - 60
    start = end - int(form.history_hours * 3600)
    data, file, port = bench.file("history"), bench.file("history.yml"), peers.free_port()
    file.write_text("global: {}\n")
    History(form.history_servers, start, end).write(bench.folder, data)
    command = (
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=30d",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    before, now = _baseline(form.history_hours), _panels(_NOW, form.history_hours)
    with running(command) as process:
        process.listens(port)
        until(lambda: _ready(port))

        def cost(queries: Sequence[Query]) -> float:
            """CPU seconds."""
            began = process.cpu()
            for query in queries:
                _send(port, query, end)
            return process.cpu() - began

        cost(before + now)  # the blocks are read from disk once
        rounds = [(cost(now), cost(before)) for _ in range(min(3, form.rounds))]
    ours, theirs = (statistics.median(costs) for costs in zip(*rounds, strict=True))
    subject = f"overview, {form.history_servers:,} servers, {form.history_hours:g} h"
    quantity = "Prometheus CPU per refresh, s"
    return [Ratio(subject, quantity, ours, "overview of e140c29", theirs, at_most(_BOUND))]


def _ready(port: int) -> bool:
    try:
        return bool(fetch(port, "/-/ready"))
    except RuntimeError:  # 503 while it opens the database
        return False


def _panels(file: Path, hours: float) -> list[Query]:
    """The queries of a dashboard's panels and annotations."""
    dashboard = json.loads(file.read_text())
    found = [
        _query(target, panel["gridPos"]["w"], _hours(panel, hours), panel.get("maxDataPoints"))
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    marks = [one["target"] for one in dashboard["annotations"]["list"]]
    steps = {"30s": 30, "1m": 60}
    return found + [
        Query(_filled(mark["expr"], step, hours), step, hours)
        for mark in marks
        if (step := steps[mark["interval"]])
    ]


def _hours(panel: dict[str, Any], hours: float) -> float:
    """The panel's own time range, if it has one."""
    return min(hours, float(panel.get("timeFrom", f"{hours}h").removesuffix("h")))


def _baseline(hours: float) -> list[Query]:
    return [
        Query(_filled(one["expr"], one["step"], hours), one["step"], hours)
        if "step" in one
        else _query(one, one["width"], hours)
        for one in json.loads(_BEFORE.read_text())
    ]


def _query(target: dict[str, Any], width: int, hours: float, points: int | None = None) -> Query:
    """A target as a panel of this width of the grid's 24 sends it, with a point for each pixel or fewer."""
    point = hours * 3600 / (points or _PAGE * width / 24)
    rounded = next(step for limit, step in _STEPS.items() if point < limit)
    step = max(rounded, 5, int(target.get("interval", "0m").removesuffix("m")) * 60)
    return Query(_filled(target["expr"], step, hours), step if target["range"] else 0, hours)


def _filled(expression: str, step: int, hours: float) -> str:
    """The expression with Grafana's variables replaced: all servers, scraped every 5 seconds."""
    now = int(time.time() * 1000)
    values = {
        "job": ".+",
        "instance": ".+",
        "target": ".+",
        "group": "instance",
        "__rate_interval": f"{max(step + 5, 20)}s",
        "__range": f"{int(hours * 3600)}s",
        "__from": str(now - int(hours * 3600_000)),
        "__to": str(now),
    }
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


def _send(port: int, query: Query, end: int) -> None:
    """Sends the query and reads the response. Raises `urllib.error.HTTPError` where Prometheus rejects it."""
    parameters: dict[str, Any] = {"query": query.expression, "time": end}
    path = "query"
    if query.step:
        path = "query_range"
        start = end - query.hours * 3600
        parameters |= {"start": start, "end": end, "step": query.step}
    url = f"http://127.0.0.1:{port}/api/v1/{path}"
    body = urllib.parse.urlencode(parameters).encode()
    with urllib.request.urlopen(url, body, timeout=120) as answer:
        answer.read()
