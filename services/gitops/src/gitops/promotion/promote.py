"""Promotion: propose the exact pins of a service in one environment for the next environment.

There is one pull request for each service and environment, and it is kept up to date.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.errors import GitopsError, NotWantedError, OutageError
from gitops.forge.protocol import Forge
from gitops.git.repository import Commit
from gitops.git.snapshot import Proposal, Snapshot
from gitops.git.trunk import Pushed, Trunk, commit_on
from gitops.pins.bump import refuse_held
from gitops.pins.history import Step, same_pins, steps, why_trained
from gitops.pins.release import Release, changes, same_but_moment, written
from gitops.pins.wording import commit_message, trained_because, what_moved
from gitops.platform.model import Platform
from gitops.platform.reader import platform_at
from gitops.platform.targets import ENVS, Target, chosen, fed_by, source_of, targets
from gitops.programs import ProgramMissingError
from gitops.promotion.arrival import Arrivals
from gitops.promotion.body import Evidence, body, marker, title
from gitops.promotion.readiness import readiness
from gitops.promotion.trial import WorseError, trial
from gitops.rendering.diff import ObjectChange, promoted
from gitops.rendering.render import find_helm

_TRIES = 5
_VERB: Final = "promote"


class Route(Struct, frozen=True, kw_only=True):
    """The source and the target of a promotion, and for how many minutes the pins must have run at the source."""

    source: Target
    target: Target
    min_age: float = 0.0

    @property
    def branch(self) -> str:
        """Return the branch of its pull request."""
        return branch_to(self.target)


class Plan(Struct, frozen=True, kw_only=True):
    """The content of a promotion: the commit, and the pull request."""

    proposal: Proposal
    title: str
    body: str


class Outcome(Struct, frozen=True, kw_only=True):
    """The result of promoting to one target; `commit` is on the branch of the pull request.

    A refusal has `why`, and the exit code of a command that ends with it. `unlabelled` says why the pull request has no
    label.
    """

    target: str
    outcome: Literal[
        "opened", "updated", "unchanged", "merged", "pushed", "planned", "nothing to promote", "not released", "refused"
    ]
    branch: str
    title: str = ""
    body: str = ""
    commit: str | None = None
    number: int | None = None
    url: str | None = None
    unlabelled: str = ""
    why: str = ""
    exit_code: int = 0


def branch_to(target: Target) -> str:
    """Return the branch of the pull request that promotes to a target."""
    return f"{_VERB}/{target}"


def routes(platform: Platform, name: str | None, min_age: float | None = None) -> list[Route]:
    """Return the routes of a name.

    Args:
        platform: The content of platform.yaml.
        name: ENV/SERVICE or ENV to promote to; None means every environment with a `from`.
        min_age: How many minutes the pins must have run; None means the environment's own `minAge`.

    Raises:
        BadInputError: There is no such target, or its environment has no `from`.
    """
    if name is None:
        wanted = [target for target in targets(platform) if target.environment.source]
    else:
        wanted = chosen(platform, name)
    return [
        Route(
            source=source_of(platform, target),
            target=target,
            min_age=target.environment.min_minutes if min_age is None else min_age,
        )
        for target in wanted
    ]


def plan(start: Snapshot, cluster: Cluster, route: Route, arrivals: Arrivals) -> Plan | None:
    """Return what a promotion would propose; None if the target has the source's pins already.

    Args:
        start: The newest files of the main branch.
        cluster: The cluster to query about the source, if it can be reached.
        route: The source and the target.
        arrivals: The records that show since when the source has its pins.

    Raises:
        BadInputError: The source has no release, or the result does not render.
        NotWantedError: Source or target is held, the source's pins are not ready, or the candidate does not meet the
            bounds in the target's values.
    """
    text, source = start.released(route.source)
    there, before = start.release(route.target)
    refuse_held(route.source, source)
    refuse_held(route.target, before)
    # The source's shadow is not promoted. The target keeps its own, unless that is the promoted version.
    after = source.tried_beside(before.tried if before else None)
    moved = changes(before, after)
    if not moved:
        return None
    file = route.target.file
    # A first release copies the source's file; later ones keep the comments in the target's file.
    content = written(text if there is None else there, after, str(file))
    found = steps(start.repository, route.source, start.commit)
    ready = readiness(start.repository, cluster, route.source, found, route.min_age, arrivals)
    tried = trial(start, cluster, route.target, after, arrivals)
    objects, unrendered = _rendered(start, route)
    new_model = before is None or not before.model.is_version(after.model)
    reason = why_trained(start.repository, route.source, found, after.model) if new_model else ""
    evidence = Evidence(
        source=str(route.source),
        target=str(route.target),
        before=before,
        after=after,
        readiness=ready,
        commits=_between(start, found, before, ready.commit, route.target),
        objects=objects,
        unrendered=unrendered,
        trial=tried,
        trained=reason,
    )
    subject = f"{_VERB}({route.target}): {what_moved(moved, after)}"
    origin = f"The pins of {route.source} as of {ready.commit.sha[:7]}."
    # The promotion to the next environment reads the reason from this commit.
    message = commit_message(subject, moved, "\n\n".join(filter(None, (origin, trained_because(reason)))))
    proposal = Proposal(verb=_VERB, subject=str(route.target), files={file: content}, changes=moved, message=message)
    return Plan(proposal=proposal, title=title(evidence), body=body(evidence))


def preview(start: Snapshot, cluster: Cluster, route: Route, arrivals: Arrivals) -> Outcome:
    """Return what a promotion would propose, without doing it; arguments and errors as for `plan`."""
    planned = plan(start, cluster, route, arrivals)
    if planned is None:
        return _outcome(route, "nothing to promote")
    return _outcome(route, "planned", title=planned.title, body=planned.body)


def promote_pins(
    trunk: Trunk, start: Snapshot, cluster: Cluster, route: Route, arrivals: Arrivals, forge: Forge | None
) -> Outcome:
    """Open or update the pull request of a promotion, or close it because of a hold.

    Args:
        trunk: The remote to push the branch to.
        start: The newest files of the main branch.
        cluster: The cluster to query about the source, if it can be reached.
        route: The source and the target.
        arrivals: The records that show since when the source has its pins.
        forge: The forge for the pull request; None only pushes the branch.

    Raises:
        BadInputError: As for `plan`, or the remote or the forge refuses.
        NotWantedError: As for `plan`; the pull request is closed if source or target is held, or if the candidate
            differs too much.
        OutageError: The remote or the forge does not answer.
    """
    try:
        planned = plan(start, cluster, route, arrivals)
    except WorseError as error:
        if forge:
            forge.close(route.branch, str(error))
        raise
    except NotWantedError:
        if forge and (why := _held(start, route)):
            forge.close(route.branch, why)
        raise
    if planned is None:
        if forge:
            forge.close(route.branch, f"{route.target} runs the pins of {route.source} already.")
        return _outcome(route, "nothing to promote")
    commit = push_proposal(trunk, start, planned.proposal)
    outcome = _outcome(route, "pushed", title=planned.title, body=planned.body, commit=commit)
    if forge is None:
        return outcome
    if forge.open_from(route.branch) is None and _there_already(trunk, planned.proposal):
        return _outcome(route, "nothing to promote")
    kept = forge.keep(route.branch, planned.title, planned.body, [_VERB])
    return msgspec.structs.replace(
        outcome, outcome=kept.outcome, number=kept.number, url=kept.url, unlabelled=kept.unlabelled
    )


def refusal(start: Snapshot, route: Route, error: GitopsError) -> Outcome:
    """Return the result of a refused promotion; among several, a source without a release is no failure."""
    if start.read(route.source.file) is None:
        return _outcome(route, "not released", why=str(error))
    return _outcome(route, "refused", why=str(error), exit_code=error.exit_code)


def close_promotions(forge: Forge, platform: Platform, target: Target, why: str) -> list[str]:
    """Close the open promotions from and to a target, but not those of other services; return their addresses."""
    closed = []
    onward = [Target(environment=entry, service=target.service) for entry in fed_by(platform, target.environment)]
    for goal in (target, *onward):
        pull = forge.open_from(branch_to(goal))
        if pull and (goal == target or pull.body.startswith(marker(str(target), str(goal)))):
            forge.close(branch_to(goal), why)
            closed.append(pull.url)
    return closed


def push_proposal(trunk: Trunk, start: Snapshot, proposal: Proposal) -> str:
    """Push a proposal to its branch, on top of the main branch and nothing else; return its commit.

    A branch with the same change is not pushed again: that would dismiss approvals and restart the checks.

    Raises:
        BadInputError: The remote refuses.
        OutageError: It does not answer, or others keep pushing to the branch.
    """
    commit, branch, said = commit_on(start.repository, start.commit, proposal), proposal.branch, ""
    for _ in range(_TRIES):
        there = trunk.branch_head(branch)
        if there and _says_the_same(start, there, proposal):
            return there
        pushed, said = trunk.push(commit, branch, over=there)
        if pushed is Pushed.LANDED:
            return commit
    raise OutageError(
        f"{trunk.remote} did not accept {branch}, {_TRIES} times in a row; does somebody else push to it too? {said}"
    )


def _says_the_same(start: Snapshot, commit: str, proposal: Proposal) -> bool:
    """Whether merging a commit changes the main branch exactly as the proposal does."""
    repository = start.repository
    fork_point = repository.fork_point(start.commit, commit)
    if fork_point is None:
        return False
    left, there = Snapshot(repository, fork_point), Snapshot(repository, commit)
    changed = repository.git("diff-tree", "-r", "--name-only", "-z", "--no-renames", fork_point, commit)
    return sorted(filter(None, changed.split("\0"))) == sorted(str(path) for path in proposal.files) and all(
        same_but_moment(there.read(path), text, measured=proposal.measured) and left.read(path) == start.read(path)
        for path, text in proposal.files.items()
    )


def _outcome(route: Route, outcome: str, **others: object) -> Outcome:
    fields = {"target": str(route.target), "outcome": outcome, "branch": route.branch, **others}
    return msgspec.convert(fields, Outcome)


def held_because(target: Target, why: str) -> str:
    """Return the comment for a pull request that a hold closes."""
    return f"{target} is held: {why}"


def _held(start: Snapshot, route: Route) -> str:
    """Return the comment about the held side of a route; empty if neither is held."""
    for target in (route.source, route.target):
        release = start.release(target)[1]
        if release and release.held is not None:
            return held_because(target, release.held)
    return ""


def _there_already(trunk: Trunk, proposal: Proposal) -> bool:
    """Whether somebody merged it meanwhile: some forges accept a pull request without changes."""
    now = trunk.newest()
    return all(now.read(path) == text for path, text in proposal.files.items())


def _rendered(start: Snapshot, route: Route) -> tuple[Sequence[ObjectChange] | None, str]:
    try:
        helm = find_helm(start.repository.root)
        with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
            tree = Path(scratch)
            start.repository.export(start.commit, tree)
            return promoted(tree, helm, route.target, route.source), ""
    except (OutageError, ProgramMissingError) as error:
        return None, str(error).partition("\n")[0]


def _between(
    start: Snapshot, found: list[Step], before: Release | None, commit: Commit, target: Target
) -> list[Commit] | None:
    """Return the commits of the main branch since the source had the target's pins; None if it never had them.

    Commits that change only the target, or only other services, are left out.
    """
    if before is None:
        return None
    then = next((step.commit.sha for step in found if same_pins(step.release, before)), None)
    if then is None:
        return None
    others = [
        entry.folder
        for entry in targets(platform_at(start))
        if entry.service != target.service or entry.environment == target.environment
    ]
    return start.repository.log(Path(), f"{then}..{commit.sha}", without=[*others, ENVS / target.environment.name])
