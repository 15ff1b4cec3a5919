"""Find the workloads that read a Secret, and restart them."""

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
    """Make the workloads that read one of these Secrets replace their pods, as their update strategy says.

    A Rollout replaces its pods by `restartAt`: a changed template would be a new version, with all steps of a canary.

    Args:
        cluster: Where they run.
        namespace: The namespace of the Secrets and their readers.
        names: Names of the Secrets.
        stamp: Value for the annotation. The same value does not restart a workload twice. If Rollouts read the Secrets,
            it must be a time as Kubernetes writes it: older pods are replaced.
        leave: Names of workloads that re-read these Secrets while they run.

    Returns:
        The names of the restarted workloads.
    """
    restarted = []
    for kind in ("deployments.apps", "statefulsets.apps", ROLLOUTS):
        for workload in cluster.items(kind, namespace):
            # A Rollout may refer to a Deployment for its template. We did not make such a Rollout.
            template, name = workload["spec"].get("template") or {}, workload["metadata"]["name"]
            if name in leave or not reads(template, names):
                continue
            if patch := _moment(workload, stamp) if kind == ROLLOUTS else _annotation(template, stamp):
                cluster.merge(kind, name, namespace, {"spec": patch})
                restarted.append(name)
    return restarted


def _annotation(template: Manifest, stamp: str) -> Manifest:
    """Return the patch that restarts a workload by its template; empty if it has this stamp already."""
    there = ((template.get("metadata") or {}).get("annotations") or {}).get(RESTARTED)
    return {} if there == stamp else {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}


def _moment(rollout: Manifest, stamp: str) -> Manifest:
    """Return the patch that restarts a Rollout; empty if it has this stamp already.

    It replaces pods older than the given time. Times have whole seconds, so a pod from that very second must count as
    old.
    """
    moment = f"{datetime.fromisoformat(stamp) + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"
    return {} if rollout["spec"].get("restartAt") == moment else {"restartAt": moment}
