"""Whether pins are ready for promotion: how long they have run, and what the cluster reports."""

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
from gitops.promotion.arrival import Arrival, Arrivals, revisions
from gitops.rendering.manifests import Manifest

_MINUTE = 60


class Readiness(Struct, frozen=True, kw_only=True):
    """The evidence for the pins of a target.

    `commit` pinned them, and `arrival` is None if nothing shows since when the target has it. `live` is None if the
    cluster gave no information; `problem` says why.
    """

    commit: Commit
    arrival: Arrival | None
    live: Live | None
    problem: str = ""


def readiness(
    repository: Repository, cluster: Cluster, target: Target, found: list[Step], minutes: float, arrivals: Arrivals
) -> Readiness:
    """Return the evidence for the pins of a target.

    Args:
        repository: The repository.
        cluster: The cluster to query, if it can be reached.
        target: The service in its environment.
        found: Its steps, the newest first; the newest has a release.
        minutes: How long it must have had its pins.
        arrivals: The records that show since when.

    Raises:
        BadInputError: The clone lacks the history that shows since when, the forge refuses, or no record shows it.
        OutageError: The forge does not answer.
        NotWantedError: The pins are too young, not rolled out, or their smoke test failed or still runs.
    """
    if repository.is_shallow():
        raise BadInputError(
            f"This clone lacks older history, so it is not known since when {target} has had its pins: git fetch "
            "--unshallow (in a workflow: fetch-depth: 0)."
        )
    commit = since(found)
    # No environment has a commit before it is made, so a young one needs no other record.
    _refuse_young(target, commit, commit.when, minutes)
    name = target.application
    application, live, problem = None, None, f"There is no application {name}."
    try:
        application = cluster.find("applications.argoproj.io", name, ARGOCD)
        live = look(cluster, target, found[0].release, application) if application else None
    except GitopsError as error:
        problem = str(error).partition("\n")[0]
    if application and live and (objection := _objection(repository, application, live, commit)):
        message = f" It says: {live.message}" if live.message else ""
        raise NotWantedError(f"{target} has not proved its pins: {objection}{message}")
    try:
        arrival = arrivals.of(commit, application)
    except GitopsError:
        if minutes:
            raise
        arrival = None
    if arrival:
        _refuse_young(target, commit, arrival.when, minutes)
    elif minutes:
        argocd = "has no record of it" if application else f"was not asked ({problem})"
        # Waiting does not help, so automation must not take this for pins that are too young.
        raise BadInputError(
            f"It is not known since when {target} has had its pins. The date of {commit.sha[:7]} says only when it was "
            f"made. Argo CD {argocd}. The forge does not say when the branch got it: {arrivals.problem}. If you know "
            "that the pins are old enough, give --min-age 0."
        )
    return Readiness(commit=commit, arrival=arrival, live=live, problem="" if live else problem)


def _refuse_young(target: Target, commit: Commit, when: datetime, minutes: float) -> None:
    seconds = int((datetime.now(UTC) - when).total_seconds())
    if seconds < minutes * _MINUTE:
        raise NotWantedError(
            f"{target} has had its pins for {age(seconds)}, since {commit.sha[:7]}, but {minutes:g} minutes are "
            "required: wait, or give another --min-age."
        )


def _objection(repository: Repository, application: Manifest, live: Live, commit: Commit) -> str:
    named = revisions((application.get("status") or {}).get("sync") or {})
    if named and not any(map(repository.has, named)):
        return (
            f"Argo CD is at {named[0][:7]}, which is not in the history that was fetched here, so it is "
            "not known what it has applied: run it again."
        )
    if named and not any(repository.contains(revision, commit.sha) for revision in named):
        return f"Argo CD is at {named[0][:7]} and has not yet read {commit.sha[:7]}, which changed them."
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
