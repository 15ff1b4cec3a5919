"""The readers of a Secret, and how to make them read it again."""

from collections.abc import Mapping
from typing import Any

from gitops.cluster.client import Cluster

RESTARTED = "kubectl.kubernetes.io/restartedAt"
_SOURCES = ("secretKeyRef", "secretRef", "secret")


def reads(spec: Any, names: frozenset[str]) -> bool:
    """Whether a pod's spec takes variables or files from one of these Secrets."""
    if isinstance(spec, Mapping):
        for key in _SOURCES:
            source = spec.get(key)
            if isinstance(source, Mapping) and names & {source.get("name"), source.get("secretName")}:
                return True
        return any(reads(value, names) for value in spec.values())
    return isinstance(spec, list) and any(reads(value, names) for value in spec)


def restart(
    cluster: Cluster, namespace: str, names: frozenset[str], stamp: str, leave: frozenset[str] = frozenset()
) -> list[str]:
    """Have the Deployments and StatefulSets that read one of these Secrets replace their pods, as their strategy says.

    Args:
        cluster: Where they are.
        namespace: Of the Secrets and their readers.
        names: Of the Secrets.
        stamp: What the annotation is to say. With the same one nothing is restarted a second time.
        leave: Names of workloads that read these Secrets while they run.

    Returns:
        The names of those that were restarted.
    """
    restarted = []
    for kind in ("deployments.apps", "statefulsets.apps"):
        for workload in cluster.items(kind, namespace):
            template, name = workload["spec"]["template"], workload["metadata"]["name"]
            annotations = (template.get("metadata") or {}).get("annotations") or {}
            if name not in leave and reads(template["spec"], names) and annotations.get(RESTARTED) != stamp:
                patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}}
                cluster.merge(kind, name, namespace, patch)
                restarted.append(name)
    return restarted
