"""Roll back an aborted canary in git: pin what stable runs, and hold the service with the figures of the analysis."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from gitops.cluster.canary import Canary, canary_of
from gitops.cluster.client import Cluster
from gitops.errors import BadInputError, GitopsError
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.pins.history import Step, same_pins, steps
from gitops.pins.hold import not_rolled_back, rollback_target, rolled_back
from gitops.pins.release import Hold, Release
from gitops.platform.targets import Target


def aborted_canaries(cluster: Cluster, wanted: Sequence[Target]) -> dict[Target, Canary]:
    """Return the canaries that were aborted by the analysis or the controller; not those in other clusters.

    Raises:
        OutageError: The cluster does not answer.
    """
    seen = {target: canary_of(cluster, target) for target in wanted if not target.environment.cluster}
    return {target: canary for target, canary in seen.items() if canary and canary.aborted}


def roll_back_aborted(
    repository: Repository, revision: str, canaries: Mapping[Target, Canary], hold: Callable[[str], Hold]
) -> Edit:
    """Return the edit that pins what stable runs for every aborted canary, and holds the service; a commit for each.

    A service whose pins have changed since is left alone: the new pins have not been tried yet.

    Args:
        repository: The repository.
        revision: The commit whose pins to replace.
        canaries: The aborted canaries.
        hold: Returns a hold with a reason.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        return [_proposed(repository, snapshot, revision, target, canary, hold) for target, canary in canaries.items()]

    return edit


def reason_of(canary: Canary, release: Release) -> str:
    """Return the reason of the hold."""
    return f"canary of {release.model.name} {release.model.version} aborted: {canary.why or 'no reason given'}"


def _proposed(
    repository: Repository,
    snapshot: Snapshot,
    revision: str,
    target: Target,
    canary: Canary,
    hold: Callable[[str], Hold],
) -> Proposal:
    try:
        _, release = snapshot.released(target)
        if canary.wanted is None or not canary.wanted.is_release(release):
            return not_rolled_back(target, "its canary was aborted, but git pins something else now")
        step = _stable_step(repository, target, revision, release, canary)
        return structs.replace(rolled_back(snapshot, target, step, hold(reason_of(canary, release))), measured=True)
    except GitopsError as error:
        return not_rolled_back(target, str(error), error.exit_code)


def _stable_step(repository: Repository, target: Target, revision: str, now: Release, canary: Canary) -> Step:
    """Return the newest step with the pins that stable runs; if these are unknown, the step before the present pins.

    Raises:
        BadInputError: Stable runs the present pins too, or the earlier pins are not known.
    """
    stable = canary.stable
    if stable is None:
        return rollback_target(repository, target, revision)
    for step in steps(repository, target, revision):
        if step.release and stable.is_release(step.release) and not same_pins(step.release, now):
            return step
    if stable.is_release(now):
        raise BadInputError(
            f"The canary of {target} was aborted ({canary.why}), and the version that still answers has the same "
            "pins: the change is in a values.yaml. Revert that commit."
        )
    return rollback_target(repository, target, revision)
