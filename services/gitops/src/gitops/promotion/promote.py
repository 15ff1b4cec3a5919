"""Promotion: one environment's pins, exactly, proposed for another in one pull request that is kept up to date."""

import tempfile
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.errors import BadInputError, NotWantedError, OutageError
from gitops.forge.github import PullRequests
from gitops.git.repository import Commit, Repository
from gitops.git.snapshot import Proposal, Snapshot
from gitops.git.trunk import Pushed, Trunk, commit_on
from gitops.pins.bump import refuse_held
from gitops.pins.history import Step, same_pins, steps
from gitops.pins.release import Release, changes, written
from gitops.pins.wording import commit_message, what_moved
from gitops.platform.environments import release_file
from gitops.programs import ProgramMissingError
from gitops.promotion.body import Evidence, body, marker, title
from gitops.promotion.readiness import readiness
from gitops.rendering.diff import ObjectChange, promoted
from gitops.rendering.render import find_helm

_TRIES = 5


class Route(Struct, frozen=True, kw_only=True):
    """From which environment to which, and for how many minutes the pins must have been at the first."""

    source: str = "staging"
    target: str = "production"
    min_age: float = 0.0

    @property
    def branch(self) -> str:
        """The branch of its pull request."""
        return f"promote/{self.target}"


class Plan(Struct, frozen=True, kw_only=True):
    """What would be proposed: the commit, and the pull request."""

    proposal: Proposal
    title: str
    body: str


class Outcome(Struct, frozen=True, kw_only=True):
    """What promoting came to; `commit` is on the branch of the pull request."""

    outcome: Literal["opened", "updated", "unchanged", "pushed", "planned", "nothing to promote"]
    branch: str
    title: str = ""
    body: str = ""
    commit: str | None = None
    number: int | None = None
    url: str | None = None


def plan(start: Snapshot, cluster: Cluster, route: Route) -> Plan | None:
    """What promoting would propose; None where the target runs the source's pins already.

    Args:
        start: The newest files of the main branch.
        cluster: The cluster to ask how the source does, if it can be reached.
        route: From where to where.

    Raises:
        BadInputError: An environment is not there, the source has nothing, or the result does not render.
        NotWantedError: Either is held, or the source has not proved its pins.
    """
    if route.source == route.target:
        raise BadInputError(f"--from and --to are both {route.source}: name two environments.")
    text, after = start.released(route.source)
    there, before = start.release(route.target)
    refuse_held(route.source, after)
    refuse_held(route.target, before)
    moved = changes(before, after)
    if not moved:
        return None
    file = release_file(route.target)
    # A first release is the source's file; later ones keep what people wrote beside the target's pins.
    content = text if there is None else written(there, after, str(file))
    found = steps(start.repository, route.source, start.commit)
    ready = readiness(start.repository, cluster, route.source, found, route.min_age)
    objects, unrendered = _rendered(start, route)
    evidence = Evidence(
        source=route.source,
        target=route.target,
        before=before,
        after=after,
        readiness=ready,
        commits=_between(start.repository, found, before, ready.commit, file.parent),
        objects=objects,
        unrendered=unrendered,
    )
    subject = f"promote({route.target}): {what_moved(moved, after)}"
    message = commit_message(subject, moved, f"The pins of {route.source} as of {ready.commit.sha[:7]}.")
    proposal = Proposal(files={file: content}, changes=moved, message=message)
    return Plan(proposal=proposal, title=title(evidence), body=body(evidence))


def preview(start: Snapshot, cluster: Cluster, route: Route) -> Outcome:
    """What promoting would propose, with nothing done; arguments and errors as of `plan`."""
    planned = plan(start, cluster, route)
    if planned is None:
        return Outcome(outcome="nothing to promote", branch=route.branch)
    return Outcome(outcome="planned", branch=route.branch, title=planned.title, body=planned.body)


def promote(trunk: Trunk, start: Snapshot, cluster: Cluster, route: Route, pulls: PullRequests | None) -> Outcome:
    """Keep the pull request of a promotion: opened, brought up to date, or closed where a hold says so.

    Args:
        trunk: Where to push its branch.
        start: The newest files of the main branch.
        cluster: The cluster to ask how the source does, if it can be reached.
        route: From where to where.
        pulls: The repository's pull requests; None pushes the branch alone.

    Raises:
        BadInputError: As `plan`, or the remote or the API refuses.
        NotWantedError: As `plan`; the pull request is closed where either environment is held.
        OutageError: The remote or the API does not answer.
    """
    try:
        planned = plan(start, cluster, route)
    except NotWantedError as error:
        if pulls and _held(start, route):
            pulls.close(route.branch, str(error))
        raise
    if planned is None:
        if pulls:
            pulls.close(route.branch, f"{route.target} runs the pins of {route.source} already.")
        return Outcome(outcome="nothing to promote", branch=route.branch)
    commit = push_proposal(trunk, start, route.branch, planned.proposal)
    outcome = Outcome(outcome="pushed", branch=route.branch, title=planned.title, body=planned.body, commit=commit)
    if pulls is None:
        return outcome
    kept = pulls.keep(route.branch, planned.title, planned.body)
    return msgspec.structs.replace(outcome, outcome=kept.outcome, number=kept.number, url=kept.url)


def close_promotions(pulls: PullRequests, environments: list[str], environment: str, why: str) -> list[str]:
    """Close the open promotions from and to an environment, and return where to find them."""
    closed = []
    for target in environments:
        branch = Route(target=target).branch
        pull = pulls.open_from(branch)
        if pull and (target == environment or (pull.body or "").startswith(marker(environment, target))):
            pulls.close(branch, why)
            closed.append(pull.html_url)
    return closed


def push_proposal(trunk: Trunk, start: Snapshot, branch: str, proposal: Proposal) -> str:
    """Have a branch of the remote hold a proposal on top of the main branch, and nothing else; returns its commit.

    A branch that says the same already stays as it is, for a push would undo approvals.

    Raises:
        BadInputError: The remote refuses.
        OutageError: It does not answer, or others write the branch all the time.
    """
    commit = commit_on(start.repository, start.commit, proposal)
    for _ in range(_TRIES):
        there = trunk.branch_head(branch)
        if there and _says_the_same(start, there, proposal):
            return there
        if trunk.push(commit, branch, over=there) is Pushed.LANDED:
            return commit
    raise OutageError(f"Others write {branch} of {trunk.remote} all the time: run the same command again.")


def _says_the_same(start: Snapshot, commit: str, proposal: Proposal) -> bool:
    """Whether merging a commit makes of the main branch what the proposal makes of it, and nothing else."""
    repository = start.repository
    fork_point = repository.fork_point(start.commit, commit)
    if fork_point is None:
        return False
    left, there = Snapshot(repository, fork_point), Snapshot(repository, commit)
    changed = repository.git("diff-tree", "-r", "--name-only", "-z", "--no-renames", fork_point, commit)
    return sorted(filter(None, changed.split("\0"))) == sorted(str(path) for path in proposal.files) and all(
        there.read(path) == text and left.read(path) == start.read(path) for path, text in proposal.files.items()
    )


def _held(start: Snapshot, route: Route) -> bool:
    releases = [start.release(name)[1] for name in (route.source, route.target)]
    return any(release and release.held is not None for release in releases)


def _rendered(start: Snapshot, route: Route) -> tuple[list[ObjectChange] | None, str]:
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        tree = Path(scratch)
        start.repository.export(start.commit, tree)
        try:
            return promoted(tree, find_helm(start.repository.root), route.target, route.source), ""
        except (OutageError, ProgramMissingError) as error:
            return None, str(error).partition("\n")[0]


def _between(
    repository: Repository, found: list[Step], before: Release | None, commit: Commit, target: Path
) -> list[Commit] | None:
    """The commits of the main branch after the source had the target's pins; None where it never had them.

    Those that are about the target alone are not on their way to it.
    """
    if before is None:
        return None
    then = next((step.commit.sha for step in found if same_pins(step.release, before)), None)
    return repository.log(target, f"{then}..{commit.sha}", inside=False) if then else None
