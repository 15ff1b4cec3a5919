"""Every value that adds to pods reaches every pod of every chart, including jobs, hooks and tests.

The matrix comes from charts/common/pods.yaml, which lists the values and the pods. A new value fails until it has a
check here. A new kind of pod is checked for all values.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import helm, schemas
from tests.support.manifests import PodTemplate, parse, pod_template

SHARED: dict[str, Any] = yaml.safe_load((helm.CHARTS / "common" / "pods.yaml").read_text(encoding="utf-8"))
PODS = [(chart, pod) for chart, about in SHARED["charts"].items() for pod in about["pods"]]
SELECTOR = {"matchLabels": {"example.com/team": "models"}}
SPREAD = [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTOR}]
TERM = {"matchExpressions": [{"key": "example.com/pool", "operator": "In", "values": ["models"]}]}
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}}

# The values that are set, and for each a check that a pod has it.
VALUES: dict[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "ca": {"existingConfigMap": "company-ca"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
    "extraEnvFrom": [{"secretRef": {"name": "proxy"}}],
    "extraVolumes": [{"name": "licence", "secret": {"secretName": "licence"}}],
    "extraVolumeMounts": [{"name": "licence", "mountPath": "/licence", "readOnly": True}],
    "initContainers": [{"name": "wait", "image": "example.com/wait:1"}],
    "sidecars": [{"name": "proxy", "image": "example.com/proxy:1"}],
    "podLabels": {"example.com/team": "models", "app.kubernetes.io/part-of": "acme"},
    "podAnnotations": {"example.com/contact": "models@example.com"},
    "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None, "supplementalGroups": [4711]},
    "containerSecurityContext": {"readOnlyRootFilesystem": None, "privileged": False},
    "nodeSelector": {"example.com/pool": "models"},
    "affinity": AFFINITY,
    "tolerations": [{"key": "example.com/dedicated", "operator": "Exists"}],
    "topologySpreadConstraints": SPREAD,
    "priorityClassName": "123",
    "runtimeClassName": "nvidia",
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["store.example.com"]}],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["192.0.2.53"], "options": [{"name": "ndots", "value": "1"}]},
}


def own(pod: PodTemplate) -> list[dict[str, Any]]:
    """Return the chart's own containers, without those that values add."""
    added = {container["name"] for key in ("initContainers", "sidecars") for container in VALUES[key]}
    return [c for key in ("initContainers", "containers") for c in pod.spec.get(key) or [] if c["name"] not in added]


def same(key: str) -> Callable[[PodTemplate], bool]:
    """Return a check that the pod's spec has the value unchanged."""
    return lambda pod: bool(pod.spec.get(key) == VALUES[key])


def within(wanted: dict[str, Any], there: dict[str, Any]) -> bool:
    return wanted.items() <= there.items()


def has_ca(pod: PodTemplate) -> bool:
    volume = {
        "name": "pipeline-ca",
        "configMap": {"name": "company-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]},
    }
    mount = {"name": "pipeline-ca", "mountPath": "/etc/pipeline-ca", "readOnly": True}
    variable = {"name": "SSL_CERT_FILE", "value": "/etc/pipeline-ca/ca.crt"}
    return volume in pod.spec["volumes"] and all(mount in c["volumeMounts"] and variable in c["env"] for c in own(pod))


def has_containers(key: str) -> Callable[[PodTemplate], bool]:
    def check(pod: PodTemplate) -> bool:
        (wanted,) = VALUES[key]
        names = [container["name"] for container in pod.spec["initContainers"]]
        # First sidecars, then containers of the values, then the chart's own: each may need the ones before it.
        ordered = names[:2] == ["proxy", "wait"]
        found = next(c for c in pod.spec["initContainers"] if c["name"] == wanted["name"])
        stays = found.get("restartPolicy") == ("Always" if key == "sidecars" else None)
        return ordered and stays and found["securityContext"]["capabilities"] == {"drop": ["ALL"]}

    return check


def has_pod_context(pod: PodTemplate) -> bool:
    context = pod.spec["securityContext"]
    blank = {"runAsUser", "runAsGroup", "fsGroup"}.isdisjoint(context)
    return blank and context["runAsNonRoot"] is True and context["supplementalGroups"] == [4711]


def has_container_context(pod: PodTemplate) -> bool:
    contexts = [container["securityContext"] for container in own(pod)]
    return all("readOnlyRootFilesystem" not in c and c["privileged"] is False and c["capabilities"] for c in contexts)


CHECKS: dict[str, Callable[[PodTemplate], bool]] = {
    "imagePullSecrets": same("imagePullSecrets"),
    "ca": has_ca,
    "extraEnv": lambda pod: all(VALUES["extraEnv"][0] in c["env"] for c in own(pod)),
    "extraEnvFrom": lambda pod: all(c["envFrom"][-1] == VALUES["extraEnvFrom"][0] for c in own(pod)),
    "extraVolumes": lambda pod: VALUES["extraVolumes"][0] in pod.spec["volumes"],
    "extraVolumeMounts": lambda pod: all(VALUES["extraVolumeMounts"][0] in c["volumeMounts"] for c in own(pod)),
    "initContainers": has_containers("initContainers"),
    "sidecars": has_containers("sidecars"),
    "podLabels": lambda pod: within(VALUES["podLabels"], pod.labels),
    "podAnnotations": lambda pod: within(VALUES["podAnnotations"], pod.annotations),
    "podSecurityContext": has_pod_context,
    "containerSecurityContext": has_container_context,
    "nodeSelector": lambda pod: within(VALUES["nodeSelector"], pod.spec["nodeSelector"]),
    "affinity": lambda pod: within(AFFINITY["nodeAffinity"], pod.spec["affinity"]["nodeAffinity"]),
    **{key: same(key) for key in ("tolerations", "topologySpreadConstraints", "priorityClassName")},
    **{key: same(key) for key in ("runtimeClassName", "hostAliases", "dnsPolicy", "dnsConfig")},
}


def rendered(chart: str, folder: Path, *values: dict[str, Any]) -> dict[str, PodTemplate]:
    """Render a chart with everything that it may have, and return its pods by component."""
    files = []
    for number, more in enumerate(values):
        files.append(folder / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(more), encoding="utf-8")
    whole = {"2-everything", "3-exposed", "5-outcomes", "9-batch"}
    scenarios = (path for path in helm.scenarios(chart) if path.stem in whole)
    outcome = helm.template(chart, *scenarios, *files)
    assert outcome.code == 0, outcome.errors
    manifests = parse(outcome.output)
    faults = [fault for m in manifests for version in schemas.VERSIONS for fault in schemas.problems(m, version)]
    assert faults == []
    pods = [pod for pod in map(pod_template, manifests) if pod]
    return {pod.labels["app.kubernetes.io/component"]: pod for pod in pods}


@cache
def with_all(chart: str, folder: Path) -> dict[str, PodTemplate]:
    return rendered(chart, folder, VALUES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("values")


def test_every_value_is_asked_for_and_checked() -> None:
    names = {entry["name"] for key in ("chart", "pods") for entry in SHARED[key]} - {"pods"}
    assert set(VALUES) == names
    assert set(CHECKS) == names


@pytest.mark.parametrize("chart", SHARED["charts"])
def test_every_pod_is_listed(chart: str, folder: Path) -> None:
    assert sorted(with_all(chart, folder)) == sorted(SHARED["charts"][chart]["pods"])


def test_every_chart_with_pods_is_listed() -> None:
    with_pods = {
        chart
        for chart in helm.charts()
        for path in helm.scenarios(chart)
        if any(pod_template(manifest) for manifest in parse(helm.template(chart, path).output))
    }
    assert with_pods == set(SHARED["charts"])


@pytest.mark.parametrize("value", CHECKS)
@pytest.mark.parametrize(("chart", "pod"), PODS)
def test_a_value_reaches_a_pod(chart: str, pod: str, value: str, folder: Path) -> None:
    assert CHECKS[value](with_all(chart, folder)[pod]), f"{pod} of {chart} lacks {value}"


@pytest.mark.parametrize(("chart", "pod"), PODS)
def test_a_variable_that_the_chart_sets_is_replaced(chart: str, pod: str, tmp_path: Path) -> None:
    before = rendered(chart, tmp_path, {})[pod]
    names = [variable["name"] for container in own(before) for variable in container.get("env", ())]
    extra = [{"name": name, "value": f"mine of {name}"} for name in dict.fromkeys(names)]
    for container in own(rendered(chart, tmp_path, {"extraEnv": extra})[pod]):
        there = {variable["name"]: variable for variable in container["env"]}
        assert len(there) == len(container["env"])
        assert all(entry == there[entry["name"]] for entry in extra)


@pytest.mark.parametrize(("chart", "pod"), PODS)
def test_one_kind_of_pod_may_have_values_of_its_own(chart: str, pod: str, tmp_path: Path) -> None:
    own_values = {"tolerations": [], "podAnnotations": {"example.com/kind": pod}, "priorityClassName": "low"}
    pods = rendered(chart, tmp_path, {"tolerations": VALUES["tolerations"]}, {"pods": {pod: own_values}})
    assert "tolerations" not in pods[pod].spec
    assert pods[pod].spec["priorityClassName"] == "low"
    assert pods[pod].annotations["example.com/kind"] == pod
    others = [found for kind, found in pods.items() if kind != pod]
    assert all(found.spec["tolerations"] == VALUES["tolerations"] for found in others)
    assert not any("example.com/kind" in found.annotations for found in others)


@pytest.mark.parametrize("chart", SHARED["charts"])
def test_cpu_limits_may_be_missing_and_devices_asked_for(chart: str, tmp_path: Path) -> None:
    limits = {"cpu": None, "memory": "2Gi", "nvidia.com/gpu": 1}
    # A model's own file overrides the chart's resources, so this one has none.
    model = {"training": "data: iris\nname: iris-classifier\n"} if chart == "training" else {}
    pods = rendered(chart, tmp_path, {"resources": {"limits": limits}, **model})
    found = [c["resources"]["limits"] for pod in pods.values() for c in own(pod)]
    assert {"memory": "2Gi", "nvidia.com/gpu": 1} in found


def test_a_volume_of_the_chart_can_be_replaced(tmp_path: Path) -> None:
    claim = {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
    pods = rendered("model-serving", tmp_path, {"pods": {"server": {"extraVolumes": [claim]}}})
    assert [volume for volume in pods["server"].spec["volumes"] if volume["name"] == "models"] == [claim]


@pytest.mark.parametrize("chart", SHARED["charts"])
def test_the_whole_security_context_can_be_blanked(chart: str, tmp_path: Path) -> None:
    pods = rendered(chart, tmp_path, {"podSecurityContext": None, "containerSecurityContext": None})
    assert not any("securityContext" in pod.spec for pod in pods.values())
    assert not any("securityContext" in container for pod in pods.values() for container in own(pod))


def test_names_and_egress_can_be_opened(tmp_path: Path) -> None:
    to_dns = [{"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": [{"port": 5353, "protocol": "UDP"}]}]
    to_proxy = [{"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"port": 3128}]}]
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"networkPolicy": {"dns": to_dns, "extraEgress": to_proxy}}), encoding="utf-8")
    for chart in SHARED["charts"]:
        manifests = parse(helm.template(chart, helm.scenarios(chart)[0], values).output)
        policies = [manifest["spec"]["egress"] for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
        assert policies
        for egress in policies:
            assert egress[:2] == to_dns + to_proxy
            assert "k8s-app" not in str(egress)


def test_what_is_written_for_charts_is_up_to_date() -> None:
    command = [sys.executable, "-m", "tools.chart_values", "--check"]
    done = subprocess.run(command, cwd=helm.ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
