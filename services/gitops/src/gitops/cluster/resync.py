"""Syncs that Argo CD gave up on, begun again.

Argo CD syncs a revision by itself once. Where that ended badly, as by its time-out or a failed hook, neither `retry`
nor `selfHeal` begins again before there is another commit: https://github.com/argoproj/argo-cd/issues/18442.
"""

from collections.abc import Sequence
from typing import Any

from gitops.cluster.client import Cluster
from gitops.cluster.kinds import APPLICATIONS
from gitops.platform.model import ARGOCD
from gitops.rendering.manifests import Manifest

_GIVEN_UP = ("Failed", "Error")
_BY = "gitops bootstrap"


def begin_again(cluster: Cluster, names: Sequence[str]) -> list[str]:
    """Have Argo CD sync the applications again whose last sync failed; returns their names.

    What syncs just now, or is not synced automatically, is left alone.
    """
    wanted = set(names)
    given_up = [
        entry
        for entry in cluster.items(APPLICATIONS, ARGOCD)
        if entry["metadata"]["name"] in wanted and _given_up(entry)
    ]
    for entry in given_up:
        cluster.merge(APPLICATIONS, entry["metadata"]["name"], ARGOCD, {"operation": _operation(entry)})
    return [entry["metadata"]["name"] for entry in given_up]


def _given_up(application: Manifest) -> bool:
    automated = _policy(application).get("automated")
    last = (application.get("status") or {}).get("operationState") or {}
    on = automated is not None and automated.get("enabled") is not False
    return on and not application.get("operation") and last.get("phase") in _GIVEN_UP


def _operation(application: Manifest) -> Manifest:
    """What Argo CD would begin by itself; without a revision it is the newest one of the branch."""
    policy = _policy(application)
    sync = {
        "prune": bool(policy["automated"].get("prune")),
        "syncOptions": policy.get("syncOptions") or [],
    }
    return {"initiatedBy": {"username": _BY}, "sync": sync, "retry": policy.get("retry") or {}}


def _policy(application: Manifest) -> dict[str, Any]:
    return application["spec"].get("syncPolicy") or {}
