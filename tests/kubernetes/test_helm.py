"""Helm chart: it renders valid manifests that agree with deploy/kubernetes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from smtpstatus.version import __version__
from tests.grafana.dashboards import DASHBOARDS
from tests.kubernetes.test_manifests import MANIFESTS
from tests.support.real import require

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/smtpstatus-exporter"
OPERATORS = ("ServiceMonitor", "Probe", "PrometheusRule")
EVERYTHING: dict[str, Any] = {
    "tls": {"existingSecret": "certificate"},
    "webConfig": {"basic_auth_users": {"prometheus": "$2b$12$hash"}},
    "imagePullSecrets": [{"name": "registry"}],
    "extraArgs": ["--log.format=json"],
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"example.com/c": "d"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "monitoring",
    "service": {"annotations": {"example.com/e": "f"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "probe": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True},
}
ALMOST_NOTHING: dict[str, Any] = {
    "replicas": 1,
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "image": {"digest": f"sha256:{'0' * 64}"},
}


def helm(
    *arguments: str, values: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("helm"), *arguments, "--values=-"],
        input=yaml.safe_dump(values or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    version = "--kube-version=1.32.0"
    done = helm("template", "mail", str(CHART), "--namespace=monitoring", version, values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def by_kind(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in rendered(values)}


@pytest.mark.parametrize("values", [{}, EVERYTHING, ALMOST_NOTHING], ids=["default", "all", "few"])
def test_the_chart_passes_lint_and_renders_valid_manifests(values: dict[str, Any]) -> None:
    linted = helm("lint", "--strict", "--kube-version=1.32.0", str(CHART), values=values)
    assert linted.returncode == 0, linted.stdout

    for document in rendered(values):
        if document["kind"] not in OPERATORS:
            kubernetes_validate.validate(document, "1.32", strict=True)


def test_a_misspelled_value_is_rejected() -> None:
    assert helm("template", str(CHART), values={"replica": 1}).returncode != 0


def test_the_chart_has_the_projects_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_charts_defaults_match_the_kustomization() -> None:
    objects = by_kind({})
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    expected = MANIFESTS["deployment"]["spec"]["template"]["spec"]
    (container,), (reference,) = pod["containers"], expected["containers"]

    assert pod["securityContext"] == expected["securityContext"]
    for key in ("args", "ports", "securityContext", "resources", "volumeMounts"):
        assert container[key] == reference[key], key
    assert (
        objects["NetworkPolicy"]["spec"]["egress"] == MANIFESTS["networkpolicy"]["spec"]["egress"]
    )
    assert container["image"] == f"smtpstatus:{__version__}"
    assert objects.keys() == {
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }


def test_the_charts_scrape_settings_match_the_manifests() -> None:
    objects = by_kind(EVERYTHING | {"tls": {"existingSecret": ""}})
    (endpoint,) = objects["ServiceMonitor"]["spec"]["endpoints"]
    (plain,) = MANIFESTS["servicemonitor"]["spec"]["endpoints"]
    targets = objects["Probe"]["spec"]["targets"]["staticConfig"]

    assert endpoint == {**plain, "scheme": "http"}
    assert (
        targets["relabelingConfigs"]
        == MANIFESTS["probe"]["spec"]["targets"]["staticConfig"]["relabelingConfigs"]
    )
    assert targets["static"] == ["mail-1"]
    for kind in OPERATORS:
        assert objects[kind]["metadata"]["labels"]["release"] == "prometheus"


def test_user_ids_can_be_omitted_for_openshift() -> None:
    users = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    pod = by_kind({"podSecurityContext": users})["Deployment"]["spec"]["template"]["spec"]

    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_tls_applies_to_probes_scrapes_and_the_web_configuration() -> None:
    objects = by_kind(EVERYTHING | {"dashboards": {"enabled": False}})
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    web = yaml.safe_load(objects["ConfigMap"]["data"]["web.yml"])

    assert container["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert web["tls_server_config"]["cert_file"] == "/etc/smtpstatus-tls/tls.crt"
    assert web["basic_auth_users"]
    assert objects["ServiceMonitor"]["spec"]["endpoints"][0]["scheme"] == "https"
    assert objects["Probe"]["spec"]["prober"]["scheme"] == "https"


def test_every_dashboard_and_every_rule_is_in_the_chart() -> None:
    objects = rendered(EVERYTHING)
    dashboards = {
        name: json.loads(text)
        for document in objects
        if document["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in document["data"].items()
    }
    (rule,) = [document for document in objects if document["kind"] == "PrometheusRule"]
    files = sorted((ROOT / "prometheus/rules").glob("*.yml"))

    assert dashboards == {f"{name}.json": dashboard for name, dashboard in DASHBOARDS.items()}
    assert rule["spec"]["groups"] == [
        group for path in files for group in yaml.safe_load(path.read_text())["groups"]
    ]
