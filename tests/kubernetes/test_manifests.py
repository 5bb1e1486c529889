"""Manifests in deploy/kubernetes: valid, and consistent with the exporter, the dashboards and the rules.

.ci/kubernetes checks the built manifests with Kustomize and kubeconform, including the Prometheus Operator's kinds.
"""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from exporter.configuration import config
from smtpstatus.version import __version__
from tests.grafana.dashboards import DASHBOARDS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yml").read_text())
FILES = [name for name in KUSTOMIZATION["resources"] if name.endswith(".yml")]
MANIFESTS: dict[str, dict[str, Any]] = {
    name.removesuffix(".yml"): yaml.safe_load((FOLDER / name).read_text()) for name in FILES
}
OPERATORS = ("servicemonitor", "probe")
LABELS = {"app.kubernetes.io/name": "smtpstatus-exporter"}


def test_every_manifest_is_listed() -> None:
    unlisted = {"kustomization.yml", *KUSTOMIZATION["configMapGenerator"][0]["files"]}

    assert {path.name for path in FOLDER.glob("*.yml")} == {*FILES, *unlisted}


@pytest.mark.parametrize("name", [name for name in MANIFESTS if name not in OPERATORS])
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_a_manifest_is_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def container() -> dict[str, Any]:
    (found,) = MANIFESTS["deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_pod_has_only_the_rights_that_the_image_needs() -> None:
    pod = MANIFESTS["deployment"]["spec"]["template"]["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text()


def test_no_secret_is_shipped_and_the_write_api_is_disabled() -> None:
    assert "Secret" not in {manifest["kind"] for manifest in MANIFESTS.values()}
    assert "secretGenerator" not in KUSTOMIZATION
    assert "api" not in yaml.safe_load((FOLDER / "exporter.yml").read_text())


def test_the_exporter_accepts_its_configuration(tmp_path: Path) -> None:
    (mount,) = [one for one in container()["volumeMounts"] if one["name"] == "tokens"]
    (tmp_path / "token").write_text("secretpa")
    file = tmp_path / "exporter.yml"
    file.write_text(
        (FOLDER / "exporter.yml").read_text().replace(mount["mountPath"], str(tmp_path))
    )

    loaded = config.load([file], {})

    probed = MANIFESTS["probe"]["spec"]["targets"]["staticConfig"]["static"]
    assert [target.name for target in loaded.targets] == probed
    assert {("UDP", target.address.port) for target in loaded.targets} <= set(egress_ports())


def egress_ports() -> list[tuple[str, int]]:
    rules = MANIFESTS["networkpolicy"]["spec"]["egress"]
    return [(port["protocol"], port["port"]) for rule in rules for port in rule["ports"]]


def test_dns_is_allowed_to_every_address() -> None:
    """NodeLocal DNSCache is not a pod that a selector matches; OpenShift's DNS pods listen on 5353."""
    dns = MANIFESTS["networkpolicy"]["spec"]["egress"][0]

    assert list(dns) == ["ports"]
    for port in (53, 5353):
        assert {("UDP", port), ("TCP", port)} <= set(egress_ports())


def test_ports_and_labels_agree() -> None:
    (port,) = container()["ports"]
    (served,) = MANIFESTS["service"]["spec"]["ports"]
    service = MANIFESTS["service"]["metadata"]["name"]
    namespace = KUSTOMIZATION["namespace"]

    assert MANIFESTS["deployment"]["spec"]["template"]["metadata"]["labels"] == LABELS
    assert MANIFESTS["service"]["spec"]["selector"] == LABELS
    for name in MANIFESTS.keys() - {"namespace"}:
        assert MANIFESTS[name]["metadata"]["labels"] == LABELS
    for name in ("deployment", "poddisruptionbudget", "servicemonitor"):
        assert MANIFESTS[name]["spec"]["selector"]["matchLabels"] == LABELS
    assert MANIFESTS["networkpolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS
    assert served["targetPort"] == port["name"]
    assert MANIFESTS["servicemonitor"]["spec"]["endpoints"][0]["port"] == served["name"]
    assert (
        MANIFESTS["probe"]["spec"]["prober"]["url"]
        == f"{service}.{namespace}.svc:{served['port']}"
    )
    assert MANIFESTS["namespace"]["metadata"]["name"] == namespace
    assert (
        MANIFESTS["poddisruptionbudget"]["spec"]["minAvailable"]
        < MANIFESTS["deployment"]["spec"]["replicas"]
    )


def test_the_manifests_have_the_projects_version() -> None:
    (labels,) = KUSTOMIZATION["labels"]
    (image,) = KUSTOMIZATION["images"]

    assert labels["pairs"]["app.kubernetes.io/version"] == __version__
    assert image["newTag"] == __version__
    assert image["name"] == container()["image"]


def test_the_service_monitor_matches_prometheus_fleet_yml() -> None:
    servers, exporter = yaml.safe_load((ROOT / "prometheus/prometheus-fleet.yml").read_text())[
        "scrape_configs"
    ]
    (endpoint,) = MANIFESTS["servicemonitor"]["spec"]["endpoints"]
    relabelled = MANIFESTS["probe"]["spec"]["targets"]["staticConfig"]["relabelingConfigs"]

    def snake(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
        return [{words.get(key, key): value for key, value in rule.items()} for rule in rules]

    # /sd sets `target`, and Prometheus sets `instance` to the address of the exporter.
    assert snake(relabelled) == [
        {"source_labels": ["__param_target"], "target_label": "target"},
        {"source_labels": ["__address__"], "target_label": "instance"},
    ]
    assert "relabel_configs" not in servers
    assert endpoint["params"] == {"collect[]": ["exporter"]}
    assert exporter["params"] == endpoint["params"]
    assert MANIFESTS["probe"]["spec"]["jobName"] == servers["job_name"]


def test_the_tls_component_changes_only_what_tls_needs() -> None:
    tls = FOLDER / "tls"
    patches = {path.name: yaml.safe_load(path.read_text()) for path in tls.glob("*.yml")}
    (plain,) = MANIFESTS["servicemonitor"]["spec"]["endpoints"]
    (endpoint,) = patches["servicemonitor.yml"]["spec"]["endpoints"]
    (patched,) = patches["deployment.yml"]["spec"]["template"]["spec"]["containers"]
    files = patches["web.yml"]["tls_server_config"]

    assert {**plain, "scheme": "https", "tlsConfig": endpoint["tlsConfig"]} == endpoint
    assert patched["args"][:-1] == container()["args"]
    assert {str(Path(path).parent) for path in files.values()} == {
        mount["mountPath"] for mount in patched["volumeMounts"] if mount["name"] == "tls"
    }
    for probe in ("livenessProbe", "readinessProbe"):
        assert patched[probe]["httpGet"] == {"scheme": "HTTPS"}


def test_every_dashboard_and_every_rule_is_applied() -> None:
    def kustomization(folder: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((ROOT / folder / "kustomization.yml").read_text())
        return found

    (dashboards,) = kustomization("grafana")["configMapGenerator"]
    assert set(dashboards["files"]) == {f"dashboards/{name}.json" for name in DASHBOARDS}
    assert kustomization("prometheus")["resources"] == ["prometheusrule.yml"]
    assert {"../../grafana", "../../prometheus"} < set(KUSTOMIZATION["resources"])
