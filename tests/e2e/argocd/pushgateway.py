"""A real Pushgateway for clusters that cannot have its chart, with the chart's address and settings."""

from typing import Any

from tests.e2e.argocd.prometheus import NAMESPACE, PUSHED_BY
from tests.e2e.images import Image
from tests.e2e.kube import Kube, Manifest

APPLICATION = "pushgateway"
VALUES = "envs/platform/pushgateway.yaml"
"""The platform's values of the chart."""
_PORT = 9091
_LABELS = {"app.kubernetes.io/name": PUSHED_BY, "app.kubernetes.io/instance": APPLICATION}


def start(kube: Kube, image: Image, values: dict[str, Any]) -> None:
    """Run it with the settings in the chart's values: arguments, limits, rights, and allowed callers."""
    name = str(values["fullnameOverride"])
    kube.apply([_policy(name, values), _pod(name, image, values), _service(name)])
    kube.run("wait", "-n", NAMESPACE, f"pod/{name}", "--for=condition=Ready", "--timeout=120s", seconds=130)


def _policy(name: str, values: dict[str, Any]) -> Manifest:
    ingress = [{"ports": [{"port": _PORT}], "from": values["networkPolicy"]["customSelectors"]}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"podSelector": {"matchLabels": _LABELS}, "ingress": ingress},
    }


def _pod(name: str, image: Image, values: dict[str, Any]) -> Manifest:
    container = {
        "name": "pushgateway",
        "image": image.reference,
        "command": ["/bin/pushgateway"],
        "args": values["extraArgs"],
        "ports": [{"name": "metrics", "containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "metrics"}, "periodSeconds": 1},
        "resources": values["resources"],
        "securityContext": values["containerSecurityContext"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": _LABELS},
        "spec": {
            "automountServiceAccountToken": values["automountServiceAccountToken"],
            "terminationGracePeriodSeconds": 1,
            "securityContext": values["securityContext"],
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {"sizeLimit": values["persistentVolume"]["size"]}}],
        },
    }


def _service(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": _LABELS},
        "spec": {"selector": _LABELS, "ports": [{"name": "http", "port": _PORT, "targetPort": "metrics"}]},
    }
