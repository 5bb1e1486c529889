"""Documented scrape set-ups with a real Prometheus and the shipped alerts, when the exporter dies."""

import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import (
    Prometheus,
    eventually,
    free_port,
    mail_server,
    prometheus,
    running,
)
from tests.support.real import require

ROOT = Path(__file__).parents[2]
PROGRAMS = ("prometheus", "prometheus3")
SERVERS = ("mail-1", "mail-2", "mail-3")
TIMES = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
Served = Mapping[tuple[str, str], Prometheus]


def shipped(name: str) -> list[dict[str, Any]]:
    """The scrape configurations of a file in prometheus/."""
    jobs = yaml.safe_load((ROOT / "prometheus" / name).read_text())["scrape_configs"]
    return list(jobs)


def operator_scrape_configs() -> list[dict[str, Any]]:
    """Scrape configurations that the Prometheus Operator derives from deploy/kubernetes."""
    read = (ROOT / "deploy/kubernetes").joinpath
    probe = yaml.safe_load(read("probe.yml").read_text())["spec"]
    monitor = yaml.safe_load(read("servicemonitor.yml").read_text())["spec"]["endpoints"][0]
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    static = probe["targets"]["staticConfig"]
    relabelled = [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"source_labels": ["__param_target"], "target_label": "instance"},
        {"target_label": "__address__", "replacement": "exporter:17030"},
        *(
            {words[key]: value for key, value in rule.items()}
            for rule in static["relabelingConfigs"]
        ),
    ]
    servers = {
        "job_name": probe["jobName"],
        "metrics_path": probe["prober"]["path"],
        "static_configs": [{"targets": list(SERVERS)}],
        "relabel_configs": relabelled,
    }
    exporter = {
        "job_name": "smtpstatus-exporter",
        "metrics_path": monitor["path"],
        "params": monitor.get("params", {}),
        "static_configs": [{"targets": ["exporter:17030"]}],
    }
    return [servers, exporter]


SETUPS = {
    "metrics": shipped("prometheus.yml"),
    "sd": shipped("prometheus-fleet.yml"),
    "probe": operator_scrape_configs(),
}
EACH = pytest.mark.parametrize(
    "setup",
    [(program, name) for program in PROGRAMS for name in SETUPS],
    ids=lambda one: "-".join(one),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Runs a Prometheus for each program and set-up. Their exporter reads one server that is up, and then dies."""
    folder = tmp_path_factory.mktemp("setups")
    with ExitStack() as stack:
        server = stack.enter_context(mail_server(folder / "mail"))
        ports = (server.status, free_port(), free_port())
        targets = [
            {"name": name, "address": f"127.0.0.1:{port}", "token": "secretpa"}
            for name, port in zip(SERVERS, ports, strict=True)
        ]
        file = folder / "exporter.yml"
        file.write_text(yaml.safe_dump({"targets": targets}))
        listen = "--web.listen-address=127.0.0.1:0"
        process = stack.enter_context(
            running("smtpstatus-exporter", listen, f"--config.file={file}")
        )
        address = process.says(r"Listening.*address=\"?(127\.0\.0\.1:\d+)")[1]
        found = {}
        for program in filter(shutil.which, PROGRAMS):
            for name, jobs in SETUPS.items():
                own = folder / f"{program}-{name}"
                own.mkdir()
                write_rules(own)
                text = yaml.safe_dump(
                    {"global": TIMES, "rule_files": ["rules/*.yml"], "scrape_configs": jobs}
                ).replace("exporter:17030", address)
                found[program, name] = stack.enter_context(prometheus(own, text, program=program))
        for one in found.values():
            eventually(lambda one=one: firing(one, "SmtpstatusTargetDown") == 2)  # type: ignore[misc]
            eventually(lambda one=one: firing(one, "SmtpstatusExporterDown") == 0)  # type: ignore[misc]
        process.end(signal.SIGKILL)
        yield found


def write_rules(folder: Path) -> None:
    """The shipped alerts, which fire immediately."""
    rules = yaml.safe_load((ROOT / "prometheus/rules/alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (folder / "rules").mkdir()
    (folder / "rules/alerts.yml").write_text(yaml.safe_dump(rules))


def firing(served: Prometheus, alert: str) -> float:
    return served.value(f'count(ALERTS{{alertname="{alert}"}}) or vector(0)') or 0


@EACH
def test_an_exporter_that_dies_fires_one_critical_alert(
    setup: tuple[str, str], served: Served
) -> None:
    require(setup[0])
    one = served[setup]

    eventually(lambda: firing(one, "SmtpstatusExporterDown") == 1)
    eventually(lambda: firing(one, "SmtpstatusTargetDown") == 0)
    assert one.value('count(ALERTS{severity="critical"})') == 1


@EACH
def test_the_alert_names_the_exporter_and_not_a_server(
    setup: tuple[str, str], served: Served
) -> None:
    require(setup[0])
    one = served[setup]
    query = 'ALERTS{alertname="SmtpstatusExporterDown"}'

    eventually(lambda: one.value(query))
    (alert,) = one.get("/api/v1/query", query=query)["result"]
    assert "127.0.0.1" in alert["metric"]["instance"]
    assert "target" not in alert["metric"]
