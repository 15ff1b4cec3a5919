"""Rules for all manifests of a release together: whether they refer to each other correctly.

Each takes the manifests and yields one sentence for each violation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.manifests import (
    LONG_RUNNING,
    Manifest,
    PodTemplate,
    containers,
    metadata,
    name_of,
    pod_template,
    selects,
)


def _of(manifests: Sequence[Manifest], *kinds: str) -> Iterator[Manifest]:
    return (manifest for manifest in manifests if manifest["kind"] in kinds)


def _pods(manifests: Sequence[Manifest]) -> list[PodTemplate]:
    return [pod for pod in map(pod_template, manifests) if pod]


def unique(manifests: Sequence[Manifest]) -> Iterator[str]:
    """No two manifests are the same object."""
    seen = set()
    for manifest in manifests:
        key = (manifest["apiVersion"], name_of(manifest), manifest["metadata"].get("namespace"))
        if key in seen:
            yield f"{name_of(manifest)} exists twice"
        seen.add(key)


def own_pods(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A workload's selector matches its own pods, and no pods of other workloads."""
    for manifest in _of(manifests, *LONG_RUNNING):
        selector = manifest["spec"]["selector"]
        for pod in _pods(manifests):
            own = pod.owner == name_of(manifest)
            if own and not selects(selector, pod.labels):
                yield f"{name_of(manifest)}: its selector does not match its own pods"
            if not own and selects(selector, pod.labels):
                yield f"{name_of(manifest)}: its selector matches the pods of {pod.owner}"


def served_pods(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A Service's selector matches the pods of one workload, which have the Service's target ports."""
    for service in _of(manifests, "Service"):
        selector = service["spec"].get("selector")
        if not selector:
            continue
        found = [pod for pod in _pods(manifests) if selects({"matchLabels": selector}, pod.labels)]
        if len(found) != 1:
            owners = ", ".join(pod.owner for pod in found) or "no pods"
            yield f"{name_of(service)}: its selector must match one workload's pods, and matches {owners}"
            continue
        ports = _ports(found[0])
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            if target not in ports:
                yield f"{name_of(service)}: {found[0].owner} has no port {target}"


def _ports(pod: PodTemplate) -> set[str | int]:
    declared = [port for _, container in containers(pod) for port in container.get("ports") or []]
    return {port["containerPort"] for port in declared} | {port["name"] for port in declared if "name" in port}


def guarded_pods(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A PodDisruptionBudget or NetworkPolicy selects pods of the release."""
    for manifest in _of(manifests, "NetworkPolicy", "PodDisruptionBudget"):
        selector = manifest["spec"]["podSelector" if manifest["kind"] == "NetworkPolicy" else "selector"]
        if not any(selects(selector, pod.labels) for pod in _pods(manifests)):
            yield f"{name_of(manifest)}: its selector matches no pods"


def isolated(manifests: Sequence[Manifest]) -> Iterator[str]:
    """If there are network policies, every pod is restricted in both directions."""
    policies = list(_of(manifests, "NetworkPolicy"))
    for pod in _pods(manifests) if policies else ():
        closed = {
            direction
            for policy in policies
            if selects(policy["spec"]["podSelector"], pod.labels)
            for direction in policy["spec"].get("policyTypes") or []
        }
        for direction in sorted({"Ingress", "Egress"} - closed):
            yield f"{pod.owner}: no NetworkPolicy restricts its {direction.lower()}"


def scaled(manifests: Sequence[Manifest]) -> Iterator[str]:
    """An autoscaler's target exists and sets no replicas, and a budget is only for more than one pod."""
    workloads = {name_of(manifest): manifest for manifest in _of(manifests, *LONG_RUNNING)}
    minimum = {name: manifest["spec"].get("replicas", 1) for name, manifest in workloads.items()}
    for scaler in _of(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        name = f"{target['kind']}/{target['name']}"
        if name not in workloads:
            yield f"{name_of(scaler)}: its target {name} does not exist"
        elif "replicas" in workloads[name]["spec"]:
            yield f"{name}: replicas must be left to {name_of(scaler)}"
        minimum[name] = scaler["spec"].get("minReplicas", 1)
    for budget in _of(manifests, "PodDisruptionBudget"):
        for name, manifest in workloads.items():
            pod = pod_template(manifest)
            if pod and selects(budget["spec"]["selector"], pod.labels) and minimum[name] < 2:
                yield f"{name_of(budget)}: {name} may run a single pod, which the budget would keep on its node"


def monitored(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A ServiceMonitor that selects this release finds a Service with the ports that it scrapes."""
    for monitor in _of(manifests, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]
        if "app.kubernetes.io/instance" not in (selector.get("matchLabels") or {}):
            continue
        services = [s for s in _of(manifests, "Service") if selects(selector, metadata(s, "labels"))]
        if not services:
            yield f"{name_of(monitor)}: its selector matches no Service"
        names = {port.get("name") for service in services for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"] if services else ():
            if endpoint["port"] not in names:
                yield f"{name_of(monitor)}: no Service has a port named {endpoint['port']}"


def checksummed(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Pods that keep running are replaced when a ConfigMap of the release that they read changes."""
    rendered = {manifest["metadata"]["name"] for manifest in _of(manifests, "ConfigMap")}
    for pod in _pods(manifests):
        read = _config_maps(pod) & rendered
        if read and pod.long_running and not any(key.startswith("checksum/") for key in pod.annotations):
            yield f"{pod.owner}: it reads the ConfigMap {min(read)}, so its pods need a checksum annotation"


def _config_maps(pod: PodTemplate) -> set[str]:
    def names(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in {"configMap", "configMapRef", "configMapKeyRef"}:
                    yield item["name"]
                else:
                    yield from names(item)
        elif isinstance(value, list):
            for item in value:
                yield from names(item)

    return set(names(pod.spec))


RULES = (unique, own_pods, served_pods, guarded_pods, isolated, scaled, monitored, checksummed)
