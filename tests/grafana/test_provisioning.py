"""Values written in several files agree: provisioning, Prometheus' configuration, and the compose file."""

from pathlib import Path
from typing import Any

import yaml

from tests.grafana.dashboards import DASHBOARDS, FOLDER, ROOT


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def data_source() -> dict[str, Any]:
    (found,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert isinstance(found, dict)
    return found


def mounts(service: str) -> dict[str, str]:
    """Paths in a service of the compose file, mapped to files of this project."""
    volumes = read("docker-compose.yml")["services"][service]["volumes"]
    return {text.split(":")[1]: text.split(":")[0] for text in volumes if text.startswith("./")}


def test_the_rate_interval_matches_the_scrape_interval() -> None:
    for name in ("prometheus.yml", "prometheus-fleet.yml"):
        configuration = read(f"prometheus/{name}")

        assert (
            data_source()["jsonData"]["timeInterval"] == configuration["global"]["scrape_interval"]
        )
        assert all("scrape_interval" not in job for job in configuration["scrape_configs"])


def test_the_data_source_points_to_the_prometheus_of_the_compose_file() -> None:
    source = data_source()

    assert (source["uid"], source["type"], source["isDefault"]) == (
        "prometheus",
        "prometheus",
        True,
    )
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in read("docker-compose.yml")["services"]


def test_the_provider_finds_the_dashboards_and_the_overview_is_home() -> None:
    (provider,) = read("grafana/provisioning/dashboards/smtpstatus.yml")["providers"]
    mounted = mounts("grafana")
    home = Path(
        read("docker-compose.yml")["services"]["grafana"]["environment"][
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
        ]
    )

    assert mounted["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert mounted[provider["options"]["path"]] == "./grafana/dashboards"
    assert home.parent == Path(provider["options"]["path"])
    assert DASHBOARDS[home.stem]["uid"] == "smtpstatus-overview"
    assert (FOLDER / home.name).exists()
    assert provider["updateIntervalSeconds"] > 10


def test_prometheus_finds_its_configuration_and_its_rules() -> None:
    mounted = mounts("prometheus")

    assert mounted["/etc/prometheus"] == "./prometheus"
    assert read("prometheus/prometheus.yml")["rule_files"] == ["rules/*.yml"]


def test_the_exporter_allows_writes_from_the_published_grafana() -> None:
    (published,) = read("docker-compose.yml")["services"]["grafana"]["ports"]
    assert published == "127.0.0.1:${GRAFANA_PORT:-3000}:3000"

    for path in (ROOT / "deploy/compose/exporter").iterdir():
        assert "http://127.0.0.1:3000" in read(str(path))["api"]["cors_origins"]


def test_every_provisioning_folder_of_grafana_is_mounted() -> None:
    """The mount hides the image's folders, and Grafana logs an error at start for each missing one."""
    folders = {path.name for path in (ROOT / "grafana/provisioning").iterdir()}

    assert folders == {"alerting", "dashboards", "datasources", "plugins"}
