"""The values of kube-prometheus-stack, as far as they can be checked without the chart, which is not downloaded here.

The chart knows every key, and k3s's parts are turned off. Every process has limits, data is kept, and the password
comes from bootstrap's Secret. Every monitor, rule and dashboard is selected. If `helm pull` has put the chart into
.cache/charts, test_rules also judges the rendered objects.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.platform.model import HERE
from tests.gitops.stack import Stack
from tests.support.helm import ROOT
from tests.support.manifests import metadata

KNOWN = Path(__file__).parent / "kube-prometheus-stack.yaml"
IN_K3S_ITSELF = ("kubeEtcd", "kubeScheduler", "kubeControllerManager", "kubeProxy")


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (ROOT / "envs" / "platform" / "monitoring.yaml").read_text(encoding="utf-8")
    )
    return content


def unknown(values: Any, known: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of keys that are not among the known keys."""
    if not isinstance(values, dict) or known is None:
        return
    for key, value in values.items():
        if key not in known:
            yield f"{path}.{key}"
        else:
            yield from unknown(value, known[key], f"{path}.{key}")


def test_uses_only_keys_that_the_chart_knows(values: dict[str, Any]) -> None:
    known = yaml.safe_load(KNOWN.read_text(encoding="utf-8"))
    assert list(unknown(values, known)) == []
    misspelt = {"prometheus": {"prometheusSpec": {"retentionsize": "8GB"}}}
    assert list(unknown(misspelt, known)) == [".prometheus.prometheusSpec.retentionsize"]


@pytest.mark.parametrize("part", IN_K3S_ITSELF)
def test_nothing_looks_for_what_k3s_runs_in_its_own_process(part: str, values: dict[str, Any]) -> None:
    assert values[part] == {"enabled": False}
    rules = values["defaultRules"]["rules"]
    name = "etcd" if part == "kubeEtcd" else part
    assert [rules[key] for key in rules if key.startswith(name)]
    assert not any(rules[key] for key in rules if key.startswith(name))


def test_selects_every_monitor_and_rule(values: dict[str, Any]) -> None:
    spec = values["prometheus"]["prometheusSpec"]
    switches = {key: value for key, value in spec.items() if key.endswith("SelectorNilUsesHelmValues")}
    assert len(switches) == 5
    assert not any(switches.values())


def test_selects_the_dashboards_that_are_rendered(values: dict[str, Any], everything: Stack) -> None:
    sidecar = values["grafana"]["sidecar"]["dashboards"]
    maps = [manifest for manifest in everything.app("observability").rendered if manifest["kind"] == "ConfigMap"]
    assert maps
    assert sidecar["enabled"]
    assert sidecar["provider"]["foldersFromFilesStructure"]
    for manifest in maps:
        assert metadata(manifest, "labels")[sidecar["label"]] == sidecar["labelValue"]
        assert metadata(manifest, "annotations")[sidecar["folderAnnotation"]]


def test_grafana_reads_one_namespace_and_every_dashboard_is_there(values: dict[str, Any], everything: Stack) -> None:
    """The chart's ClusterRole, if it makes one, may read Secrets, and so may a sidecar with default settings."""
    grafana = values["grafana"]
    assert grafana["rbac"] == {"namespaced": True}
    for sidecar in ("dashboards", "datasources"):
        assert grafana["sidecar"][sidecar]["searchNamespace"] == everything.app("monitoring").namespace
        assert grafana["sidecar"][sidecar]["resource"] == "configmap"
    label = grafana["sidecar"]["dashboards"]["label"]
    places = {
        metadata(manifest, "namespace") or app.namespace
        for app in everything.apps
        for manifest in app.rendered
        if label in metadata(manifest, "labels")
    }
    assert places == {grafana["sidecar"]["dashboards"]["searchNamespace"]}


def test_grafana_takes_its_password_from_bootstrap(values: dict[str, Any], everything: Stack) -> None:
    admin = values["grafana"]["admin"]
    assert {admin["userKey"], admin["passwordKey"]} <= everything.secrets[HERE, "monitoring", admin["existingSecret"]]
    assert "adminPassword" not in values["grafana"]


def test_data_is_kept_and_bounded(values: dict[str, Any]) -> None:
    spec = values["prometheus"]["prometheusSpec"]
    assert spec["retention"]
    claim = spec["storageSpec"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
    # Prometheus counts in powers of ten, and its write-ahead log needs additional space.
    assert float(spec["retentionSize"].removesuffix("GB")) * 1e9 <= 0.8 * float(claim.removesuffix("Gi")) * 2**30
    assert values["alertmanager"]["alertmanagerSpec"]["storage"]["volumeClaimTemplate"]
    assert values["grafana"]["persistence"]["enabled"]
    assert values["grafana"]["deploymentStrategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    "path",
    [
        ("prometheusOperator",),
        ("prometheusOperator", "prometheusConfigReloader"),
        ("prometheus", "prometheusSpec"),
        ("alertmanager", "alertmanagerSpec"),
        ("grafana",),
        ("grafana", "sidecar"),
        ("kube-state-metrics",),
        ("prometheus-node-exporter",),
    ],
    ids=".".join,
)
def test_every_process_is_bounded(path: tuple[str, ...], values: dict[str, Any]) -> None:
    part: Any = values
    for key in path:
        part = part[key]
    for key in ("requests", "limits"):
        assert set(part["resources"][key]) == {"cpu", "memory"}
