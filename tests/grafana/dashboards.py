"""Panels, queries and annotations of the committed dashboards."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana/dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Query expression of a panel."""

    dashboard: str
    panel: dict[str, Any]
    target: dict[str, Any]

    @property
    def expression(self) -> str:
        text: str = self.target["expr"]
        return text

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel['title']} {self.target['refId']}"


def panels(dashboard: str) -> list[dict[str, Any]]:
    """Panels of a dashboard that query data, including those of collapsed rows."""
    return [
        panel
        for placed in DASHBOARDS[dashboard]["panels"]
        for panel in (placed, *placed.get("panels", ()))
        if panel["type"] not in ("row", "text")
    ]


def queries() -> list[Asked]:
    return list(_queries())


def annotations() -> list[tuple[str, str]]:
    """Each annotation's dashboard and expression."""
    return [
        (name, annotation["target"]["expr"])
        for name, dashboard in DASHBOARDS.items()
        for annotation in dashboard["annotations"]["list"]
    ]


def _queries() -> Iterator[Asked]:
    for name in DASHBOARDS:
        for panel in panels(name):
            for target in panel["targets"]:
                yield Asked(name, panel, target)
