"""deploy/kubernetes: valid for Kubernetes, and in step with the exporter, the dashboards and the rules.

The Prometheus Operator's own kinds have no schema at hand: of those the structure alone is checked.
"""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from exporter.configuration import config
from tests.grafana.dashboards import DASHBOARDS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yml").read_text())
FILES = [name for name in KUSTOMIZATION["resources"] if name.endswith(".yml")]
MANIFESTS: dict[str, dict[str, Any]] = {
    name.removesuffix(".yml"): yaml.safe_load((FOLDER / name).read_text()) for name in FILES
}
OPERATORS = ("servicemonitor", "probe")


def test_every_file_is_used() -> None:
    unlisted = {"kustomization.yml", *KUSTOMIZATION["configMapGenerator"][0]["files"]}

    assert {path.name for path in FOLDER.iterdir()} == {*FILES, *unlisted}


@pytest.mark.parametrize("name", [name for name in MANIFESTS if name not in OPERATORS])
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_a_manifest_is_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def container() -> dict[str, Any]:
    (found,) = MANIFESTS["deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_pod_has_the_rights_that_the_image_needs_and_no_more() -> None:
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


def test_the_exporter_accepts_its_configuration(tmp_path: Path) -> None:
    """With the secret's keys where the pod has them: the folder is another here."""
    (mount,) = [one for one in container()["volumeMounts"] if one["name"] == "tokens"]
    for key, value in MANIFESTS["secret"]["stringData"].items():
        (tmp_path / key).write_text(value)
    file = tmp_path / "exporter.yml"
    file.write_text(
        (FOLDER / "exporter.yml").read_text().replace(mount["mountPath"], str(tmp_path))
    )

    loaded = config.load([file], {})

    probed = MANIFESTS["probe"]["spec"]["targets"]["staticConfig"]["static"]
    assert [target.name for target in loaded.targets] == probed
    assert loaded.api.secret
    ports = [
        port["port"]
        for rule in MANIFESTS["networkpolicy"]["spec"]["egress"]
        for port in rule["ports"]
    ]
    assert {target.address.port for target in loaded.targets} <= set(ports)


def test_ports_and_labels_agree() -> None:
    labels = MANIFESTS["deployment"]["spec"]["template"]["metadata"]["labels"]
    (port,) = container()["ports"]
    (served,) = MANIFESTS["service"]["spec"]["ports"]
    service = MANIFESTS["service"]["metadata"]["name"]
    namespace = KUSTOMIZATION["namespace"]

    assert MANIFESTS["service"]["spec"]["selector"] == labels
    assert MANIFESTS["service"]["metadata"]["labels"] == labels
    for name in ("deployment", "poddisruptionbudget", "servicemonitor"):
        assert MANIFESTS[name]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["networkpolicy"]["spec"]["podSelector"]["matchLabels"] == labels
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


def test_the_operator_scrapes_as_the_shipped_configuration_of_a_fleet_does() -> None:
    fleet = yaml.safe_load((ROOT / "prometheus/prometheus-fleet.yml").read_text())[
        "scrape_configs"
    ]
    (endpoint,) = MANIFESTS["servicemonitor"]["spec"]["endpoints"]
    relabelled = MANIFESTS["probe"]["spec"]["targets"]["staticConfig"]["relabelingConfigs"]

    def snake(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
        return [{words.get(key, key): value for key, value in rule.items()} for rule in rules]

    # What /sd says by itself.
    named = {"source_labels": ["__param_target"], "target_label": "target"}
    assert snake(relabelled) == [named, *fleet[0]["relabel_configs"]]
    assert snake(endpoint["metricRelabelings"]) == fleet[1]["metric_relabel_configs"]
    assert MANIFESTS["probe"]["spec"]["jobName"] == fleet[0]["job_name"]


def test_the_config_maps_hold_every_dashboard_and_every_rule() -> None:
    def generated(folder: str) -> set[str]:
        (one,) = yaml.safe_load((ROOT / folder / "kustomization.yml").read_text())[
            "configMapGenerator"
        ]
        return set(one["files"])

    rules = (ROOT / "prometheus/rules").glob("*.yml")
    assert generated("grafana") == {f"dashboards/{name}.json" for name in DASHBOARDS}
    assert generated("prometheus") == {f"rules/{path.name}" for path in rules}
    assert {"../../grafana", "../../prometheus"} < set(KUSTOMIZATION["resources"])
