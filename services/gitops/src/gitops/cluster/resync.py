"""Restart syncs that Argo CD gave up on or cannot end by itself.

Argo CD syncs a revision automatically only once. If the sync failed, for example by its timeout or a failed hook,
neither `retry` nor `selfHeal` starts another before the next commit: https://github.com/argoproj/argo-cd/issues/18442.

A sync keeps the sources that it began with. If the application's sources change meanwhile, each retry still uses the
old ones, which a new commit may have removed. Such a sync never succeeds, and no other can start before it ends.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from gitops.cluster.client import Cluster
from gitops.cluster.kinds import APPLICATIONS
from gitops.platform.model import ARGOCD
from gitops.rendering.manifests import Manifest

_GIVEN_UP = ("Failed", "Error")
_BY = "gitops bootstrap"


def begin_again(cluster: Cluster, applications: Iterable[Manifest]) -> list[str]:
    """Make Argo CD sync the applications again whose last sync failed; return their names.

    Applications that are syncing now, or that have no automated sync, are left alone.
    """
    given_up = [entry for entry in applications if _given_up(entry)]
    for entry in given_up:
        cluster.merge(APPLICATIONS, entry["metadata"]["name"], ARGOCD, {"operation": _operation(entry)})
    return [entry["metadata"]["name"] for entry in given_up]


def end_outdated(cluster: Cluster, applications: Iterable[Manifest]) -> list[str]:
    """Make Argo CD end the syncs whose sources are no longer those of the application; return their names.

    This does the same as `argocd app terminate-op`. The sync ends as Failed or Error, and `begin_again` can restart it.
    """
    outdated = [entry["metadata"]["name"] for entry in applications if _outdated(entry)]
    for name in outdated:
        cluster.merge(APPLICATIONS, name, ARGOCD, {"status": {"operationState": {"phase": "Terminating"}}})
    return outdated


def _given_up(application: Manifest) -> bool:
    automated = _policy(application).get("automated")
    last = (application.get("status") or {}).get("operationState") or {}
    on = automated is not None and automated.get("enabled") is not False
    return on and not application.get("operation") and last.get("phase") in _GIVEN_UP


def _outdated(application: Manifest) -> bool:
    sync = (application.get("operation") or {}).get("sync") or {}
    last = (application.get("status") or {}).get("operationState") or {}
    began_with = _sources(sync)
    return last.get("phase") == "Running" and bool(began_with) and began_with != _sources(application["spec"])


def _sources(holder: Manifest) -> Sequence[Any]:
    return holder.get("sources") or [source for source in [holder.get("source")] if source]


def _operation(application: Manifest) -> Manifest:
    """Return the operation of an automated sync; without a revision it takes the newest one of the branch."""
    policy = _policy(application)
    sync = {
        "prune": bool(policy["automated"].get("prune")),
        "syncOptions": policy.get("syncOptions") or [],
    }
    return {"initiatedBy": {"username": _BY}, "sync": sync, "retry": policy.get("retry") or {}}


def _policy(application: Manifest) -> dict[str, Any]:
    return application["spec"].get("syncPolicy") or {}
