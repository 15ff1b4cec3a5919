"""Pods are counted as the scheduler counts them, with as many as can run at once."""

from typing import Any

import pytest

from tests.gitops.capacity import MIB, Requests, asked, stated


def container(cpu: str, memory: str) -> dict[str, Any]:
    return {"name": "web", "image": "web", "resources": {"requests": {"cpu": cpu, "memory": memory}}}


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {}, "spec": {"containers": [container("100m", "64Mi")]}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": {"template": template, **spec}}


@pytest.mark.parametrize(
    ("manifest", "pods"),
    [
        (workload("StatefulSet"), 1),
        (workload("StatefulSet", replicas=3), 3),
        (workload("Job"), 1),
        (workload("Deployment", strategy={"type": "Recreate"}), 1),
        (workload("Deployment", replicas=2, strategy={"rollingUpdate": {"maxSurge": 1}}), 3),
        (workload("Deployment", replicas=5), 7),
        (workload("Deployment", replicas=5, strategy={"rollingUpdate": {"maxSurge": "100%"}}), 10),
    ],
)
def test_counts_pods(manifest: dict[str, Any], pods: int) -> None:
    assert asked([manifest]) == Requests(pods * 100, pods * 64 * MIB)


def test_counts_an_autoscaled_deployment_at_its_maximum() -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 5},
    }
    assert asked([workload("Deployment", strategy={"rollingUpdate": {"maxSurge": 1}}), scaler]).cpu == 600


def test_takes_the_larger_of_starting_and_running() -> None:
    manifest = workload("Job")
    pod = manifest["spec"]["template"]["spec"]
    pod["containers"].append(container("0.05", "1Gi"))
    pod["initContainers"] = [container("1", "32Mi"), container("10m", "64M")]
    assert asked([manifest]) == Requests(1000, (64 + 1024) * MIB)


def test_adds_up_a_values_file() -> None:
    values = {
        "a": {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "1"}}},
        "b": [{"c": {"resources": {"requests": {"cpu": "1", "memory": "1Mi"}}}}],
        "volume": {"resources": {"requests": {"storage": "10Gi"}}},
    }
    assert stated(values) == Requests(1020, 65 * MIB)
