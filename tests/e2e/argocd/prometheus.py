"""A real Prometheus for clusters that cannot have kube-prometheus-stack, at the stack's address.

It finds the same pods as the stack's Prometheus finds with the charts' ServiceMonitors: those behind the Services of
servers.
"""

from collections.abc import Sequence
from typing import Any

import httpx
import yaml

from tests.e2e.images import Image
from tests.e2e.kube import Kube, Manifest

NAMESPACE = "monitoring"
"""The namespace that bootstrap makes for monitoring."""
PUSHED_BY = "prometheus-pushgateway"
"""The label `app.kubernetes.io/name` of a Pushgateway's pods."""
_RULES = "prometheusrules.monitoring.coreos.com"
_HOST, _PORT = "monitoring-kube-prometheus-prometheus", 9090
_NAME = "e2e-prometheus"
_LABELS = {"app.kubernetes.io/name": "prometheus"}  # by this label the charts' network policies let it in
_SCRAPE_SECONDS = 5


def start(kube: Kube, image: Image, rules: Sequence[dict[str, Any]] = ()) -> None:
    """Run it, and wait until it answers. Its data lives as long as the pod.

    Args:
        kube: The cluster.
        image: The image with Prometheus and Pushgateway.
        rules: Groups of rules to evaluate.
    """
    kube.apply([*_rights(), _config(rules), _pod(image), _service()])
    kube.run("wait", "-n", NAMESPACE, f"pod/{_NAME}", "--for=condition=Ready", "--timeout=120s", seconds=130)


def rules_with(kube: Kube, alert: str) -> list[dict[str, Any]]:
    """Return the groups of rules with an alert, from the PrometheusRules in the cluster."""
    groups = [group for rule in kube.items(NAMESPACE, _RULES) for group in rule["spec"]["groups"]]
    return [group for group in groups if any(rule.get("alert") == alert for rule in group["rules"])]


def query(kube: Kube, expression: str) -> list[tuple[dict[str, str], float]]:
    """Query the cluster's Prometheus, this one or the stack's. Return labels and value of each series."""
    with kube.forwarded(NAMESPACE, f"service/{_HOST}", _PORT) as base:
        answer = httpx.get(f"{base}/api/v1/query", params={"query": expression}, timeout=10, trust_env=False)
    answer.raise_for_status()
    return [(each["metric"], float(each["value"][1])) for each in answer.json()["data"]["result"]]


def stop(kube: Kube) -> None:
    """Remove it with its data. Nothing answers at its address afterwards."""
    kube.delete(NAMESPACE, f"pod/{_NAME}")


def take_away(kube: Kube) -> None:
    """Remove the objects that are outside its namespace."""
    kube.run("delete", "clusterrole,clusterrolebinding", _NAME, "--ignore-not-found")


def _relabelled(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}


def _kept(source: str, value: str) -> dict[str, Any]:
    return {"source_labels": [f"__meta_kubernetes_{source}"], "regex": value, "action": "keep"}


def _config(rules: Sequence[dict[str, Any]]) -> Manifest:
    everything = [{"role": "endpointslice"}]
    serving = {
        "job_name": "serving",
        "kubernetes_sd_configs": everything,
        "relabel_configs": [
            _kept("service_label_app_kubernetes_io_name", "model-serving"),
            _kept("service_label_app_kubernetes_io_component", "server"),
            _kept("endpointslice_port_name", "metrics"),
            _relabelled("namespace", "namespace"),
            _relabelled("service_name", "job"),
            _relabelled("pod_name", "pod"),
            _relabelled("pod_label_rollouts_pod_template_hash", "rollouts_pod_template_hash"),
        ],
    }
    # Pushed metrics keep the labels of their service.
    pushed = {
        "job_name": "pushed",
        "honor_labels": True,
        "kubernetes_sd_configs": everything,
        "relabel_configs": [
            _kept("service_label_app_kubernetes_io_name", PUSHED_BY),
            _kept("endpointslice_port_name", "http"),
            _relabelled("namespace", "namespace"),
            _relabelled("service_name", "job"),
        ],
    }
    interval = f"{_SCRAPE_SECONDS}s"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": ["/etc/prometheus/rules.yml"],
        "scrape_configs": [serving, pushed],
    }
    metadata = {"name": _NAME, "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {
            "prometheus.yml": yaml.safe_dump(config),
            "rules.yml": yaml.safe_dump({"groups": list(rules)}),
        },
    }


def _rights() -> list[Manifest]:
    """Return its rights: to read names and labels of pods and Services."""
    verbs = ["get", "list", "watch"]
    rbac = "rbac.authorization.k8s.io"
    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _NAME, "namespace": NAMESPACE}},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": _NAME},
            "rules": [
                {"apiGroups": [""], "resources": ["pods", "services"], "verbs": verbs},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
            ],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": _NAME},
            "subjects": [account],
        },
    ]


def _pod(image: Image) -> Manifest:
    volumes = {"config": "/etc/prometheus", "data": "/prometheus"}
    container = {
        "name": "prometheus",
        "image": image.reference,
        "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        "ports": [{"name": "http", "containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in volumes.items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _NAME, "namespace": NAMESPACE, "labels": _LABELS},
        "spec": {
            "serviceAccountName": _NAME,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "runAsGroup": 65534,
                "fsGroup": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "config", "configMap": {"name": _NAME}},
                {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
        },
    }


def _service() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _HOST, "namespace": NAMESPACE},
        "spec": {"selector": _LABELS, "ports": [{"name": "http", "port": _PORT, "targetPort": "http"}]},
    }
