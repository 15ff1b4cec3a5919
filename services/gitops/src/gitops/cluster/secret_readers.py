"""The readers of a Secret, and how to make them read it again."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gitops.cluster.client import Cluster
from gitops.cluster.kinds import ROLLOUTS
from gitops.rendering.manifests import Manifest

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
    """Have the workloads that read one of these Secrets replace their pods, as their strategy says.

    A Rollout replaces them one by one: another template would be another version to it, with all the steps of a canary.

    Args:
        cluster: Where they are.
        namespace: Of the Secrets and their readers.
        names: Of the Secrets.
        stamp: What the annotation is to say. With the same one nothing is restarted a second time. Where Rollouts read
            these Secrets it is a moment, as Kubernetes writes it: older pods are replaced.
        leave: Names of workloads that read these Secrets while they run.

    Returns:
        The names of those that were restarted.
    """
    restarted = []
    for kind in ("deployments.apps", "statefulsets.apps", ROLLOUTS):
        for workload in cluster.items(kind, namespace):
            # A Rollout may take its template from elsewhere, and is none of ours then.
            template, name = workload["spec"].get("template") or {}, workload["metadata"]["name"]
            if name in leave or not reads(template, names):
                continue
            if patch := _moment(workload, stamp) if kind == ROLLOUTS else _annotation(template, stamp):
                cluster.merge(kind, name, namespace, {"spec": patch})
                restarted.append(name)
    return restarted


def _annotation(template: Manifest, stamp: str) -> Manifest:
    """What restarts a workload by its template; nothing where that was said already."""
    there = ((template.get("metadata") or {}).get("annotations") or {}).get(RESTARTED)
    return {} if there == stamp else {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}


def _moment(rollout: Manifest, stamp: str) -> Manifest:
    """What restarts a Rollout; nothing where that was said already.

    It replaces what is older than the moment. Times are whole seconds, and what began in that very second is old too.
    """
    moment = f"{datetime.fromisoformat(stamp) + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"
    return {} if rollout["spec"].get("restartAt") == moment else {"restartAt": moment}
