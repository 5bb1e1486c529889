import json
from pathlib import Path

from grafana.source.control import control
from grafana.source.exporter import exporter
from grafana.source.overview import overview
from grafana.source.panel import Json
from grafana.source.server import server

FOLDER = Path(__file__).parent.parent / "dashboards"


def texts() -> dict[str, str]:
    """Every dashboard's file name and content."""
    dashboards: dict[str, Json] = {
        "overview.json": overview(),
        "server.json": server(),
        "exporter.json": exporter(),
        "control.json": control(),
    }
    return {name: json.dumps(content, indent=2) + "\n" for name, content in dashboards.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
