"""Whether pins are ready for promotion: how long they have run, and what the cluster reports."""

import re
from datetime import UTC, datetime

from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.cluster.live import Live, look
from gitops.errors import BadInputError, GitopsError, NotWantedError
from gitops.git.repository import Commit, Repository
from gitops.pins.history import Step, since
from gitops.pins.wording import age
from gitops.platform.model import ARGOCD
from gitops.platform.targets import Target
from gitops.rendering.manifests import Manifest

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MINUTE = 60


class Readiness(Struct, frozen=True, kw_only=True):
    """The evidence for the pins of a target.

    `commit` pinned them `seconds` ago. `live` is None if the cluster gave no information; `problem` says why.
    """

    commit: Commit
    seconds: int
    live: Live | None
    problem: str = ""


def readiness(repository: Repository, cluster: Cluster, target: Target, found: list[Step], minutes: float) -> Readiness:
    """Return the evidence for the pins of a target.

    Args:
        repository: The repository.
        cluster: The cluster to query, if it can be reached.
        target: The service in its environment.
        found: Its steps, the newest first; the newest has a release.
        minutes: How long it must have had its pins.

    Raises:
        BadInputError: The clone lacks the history that shows since when.
        NotWantedError: The pins are too young, not rolled out, or their smoke test failed or still runs.
    """
    if repository.is_shallow():
        raise BadInputError(
            f"This clone lacks older history, so it is not known since when {target} has had its pins: git fetch "
            "--unshallow (in a workflow: fetch-depth: 0)."
        )
    commit = since(found)
    seconds = int((datetime.now(UTC) - commit.when).total_seconds())
    if seconds < minutes * _MINUTE:
        raise NotWantedError(
            f"{target} has had its pins for {age(seconds)}, since {commit.sha[:7]}, but {minutes:g} minutes are "
            "required: wait, or give another --min-age."
        )
    name = target.application
    try:
        application = cluster.find("applications.argoproj.io", name, ARGOCD)
        live = look(cluster, target, found[0].release, application)
    except GitopsError as error:
        return Readiness(commit=commit, seconds=seconds, live=None, problem=str(error).partition("\n")[0])
    if application is None or live is None:
        return Readiness(commit=commit, seconds=seconds, live=None, problem=f"There is no application {name}.")
    if objection := _objection(repository, application, live, commit):
        message = f" It says: {live.message}" if live.message else ""
        raise NotWantedError(f"{target} has not proved its pins: {objection}{message}")
    return Readiness(commit=commit, seconds=seconds, live=live)


def _objection(repository: Repository, application: Manifest, live: Live, commit: Commit) -> str:
    sync = (application.get("status") or {}).get("sync") or {}
    named = [*(sync.get("revisions") or []), sync.get("revision") or ""]
    # The revisions of an application include versions of charts.
    revisions = [revision for revision in named if _COMMIT.fullmatch(revision)]
    if revisions and not any(map(repository.has, revisions)):
        return (
            f"Argo CD is at {revisions[0][:7]}, which is not in the history that was fetched here, so it is "
            "not known what it has applied: run it again."
        )
    if revisions and not any(repository.contains(revision, commit.sha) for revision in revisions):
        return f"Argo CD is at {revisions[0][:7]} and has not yet read {commit.sha[:7]}, which changed them."
    if live.operation in ("Failed", "Error"):
        return "its last sync failed; the smoke test is part of it."
    if live.operation in ("Running", "Terminating"):
        return "a sync is running, and its smoke test has not ended."
    if live.sync != "Synced" or live.health in ("Degraded", "Missing"):
        return f"Argo CD says {live.sync} and {live.health}."
    return _of_pods(live)


def _of_pods(live: Live) -> str:
    if live.canary and not live.canary.ended:
        return f"its canary has not ended: {live.canary}."
    return "its API serves another model." if live.as_pinned is False else ""
