"""Requests of all pods at the busiest time: autoscalers at their maximum, rollouts in their surge, all Jobs at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gitops.cluster.preflight import CORES, MEMORY
from tests.support.manifests import Manifest, parse, pod_template

MIB = 1024**2
_BYTES = {"Ki": 1024, "Mi": MIB, "Gi": 1024**3, "k": 1000, "M": 1000**2, "G": 1000**3}


class Requests(NamedTuple):
    """CPU in millicores and memory in bytes."""

    cpu: int
    memory: int


# CoreDNS and metrics-server, as k3s ships them: 100m and 70Mi each. Its other pods request nothing.
K3S = Requests(200, 140 * MIB)
ROOM = Requests(1000 * CORES, MEMORY)


def total(parts: Iterable[Requests]) -> Requests:
    """Return the sum."""
    parts = list(parts)
    return Requests(sum(part.cpu for part in parts), sum(part.memory for part in parts))


def largest(parts: Iterable[Requests]) -> Requests:
    """Return the largest CPU and the largest memory of all parts, or zero without parts."""
    parts = list(parts)
    return Requests(max((part.cpu for part in parts), default=0), max((part.memory for part in parts), default=0))


def asked(manifests: Sequence[Manifest]) -> Requests:
    """Return the sum of requests of one application's pods, if all of them run at once on one node."""
    most = {
        scaler["spec"]["scaleTargetRef"]["name"]: int(scaler["spec"]["maxReplicas"])
        for scaler in manifests
        if scaler["kind"] == "HorizontalPodAutoscaler"
    }
    parts = []
    for manifest in manifests:
        pod = pod_template(manifest)
        if pod is None:
            continue
        count = _pods(manifest, most.get(manifest["metadata"]["name"]))
        one = _pod(pod.spec)
        parts.append(Requests(count * one.cpu, count * one.memory))
    return total(parts)


def _pods(manifest: Manifest, most: int | None) -> int:
    spec = manifest["spec"]
    replicas = most or int(spec.get("replicas", 1))
    if manifest["kind"] != "Deployment":
        return replicas
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return replicas
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
    return replicas + (surge if isinstance(surge, int) else math.ceil(replicas * int(surge.rstrip("%")) / 100))


def _pod(spec: dict[str, Any]) -> Requests:
    """The scheduler's own formula: the sum of the containers, or the largest init container if that is more."""
    running = total(_container(container) for container in spec["containers"])
    starting = [_container(container) for container in spec.get("initContainers") or []]
    return Requests(
        max([running.cpu, *(one.cpu for one in starting)]), max([running.memory, *(one.memory for one in starting)])
    )


def _container(container: dict[str, Any]) -> Requests:
    return _requests((container.get("resources") or {}).get("requests") or {})


def _requests(requests: dict[str, Any]) -> Requests:
    return Requests(_millicores(requests.get("cpu", 0)), _size(requests.get("memory", 0)))


def _millicores(quantity: Any) -> int:
    text = str(quantity)
    return int(text[:-1]) if text.endswith("m") else round(float(text) * 1000)


def _size(quantity: Any) -> int:
    text = str(quantity)
    for suffix, factor in _BYTES.items():
        if text.endswith(suffix):
            return round(float(text.removesuffix(suffix)) * factor)
    return int(text)


def stated(values: Any) -> Requests:
    """Return the sum of every `resources.requests` in a values file, each counted once."""
    if isinstance(values, list):
        return total(stated(item) for item in values)
    if not isinstance(values, dict):
        return Requests(0, 0)
    own = _requests((values.get("resources") or {}).get("requests") or {})
    return total([own, *(stated(value) for key, value in values.items() if key != "resources")])


def reserved(tree: Path) -> list[Requests]:
    """Return the requests of other pods: of k3s, and of Argo CD and kube-prometheus-stack by their settings."""
    monitoring = yaml.safe_load((tree / "envs" / "platform" / "monitoring.yaml").read_text(encoding="utf-8"))
    # Prometheus and Alertmanager have one reloader each, and Grafana has two sidecars.
    twice = (monitoring["prometheusOperator"]["prometheusConfigReloader"], monitoring["grafana"]["sidecar"])
    argocd = parse((tree / "argocd" / "patches" / "resources.yaml").read_text(encoding="utf-8"))
    return [K3S, asked(argocd), stated(monitoring), *(stated(values) for values in twice)]
