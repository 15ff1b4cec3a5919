"""The commands that stop automation, let it go on, and go back."""

from dataclasses import dataclass

from cyclopts import Parameter

from gitops.commands.landing import LandingOptions, land_and_show
from gitops.commands.options import Flag, Json
from gitops.errors import BadInputError
from gitops.forge.github import PullRequests
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Snapshot
from gitops.git.trunk import BRANCH, Trunk
from gitops.pins import hold as holding
from gitops.platform.identity import load_identity
from gitops.promotion.promote import close_promotions, push_proposal
from gitops.terminal import Terminal


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProposalOptions(LandingOptions):
    """What becomes of the commit: it is pushed to the main branch of the remote, unless something else is said."""

    pr: Flag = False
    """Open a pull request in its place, where the main branch is protected."""


_NO_PROPOSAL = ProposalOptions()


def hold(environment: str, /, landing: ProposalOptions = _NO_PROPOSAL, *, reason: str, json: Json = False) -> int:
    """Have automation leave an environment alone: bump and promote refuse, and an open promotion is closed.

    Args:
        environment: An environment.
        landing: What becomes of the commit.
        reason: Why, for everybody who runs into it.
        json: Print what changed as JSON.
    """
    repository = Repository.find()
    held = holding.hold_by(repository, reason)
    return _land(landing.start(repository), "hold", environment, holding.hold(environment, held), landing, json=json)


def unhold(environment: str, /, landing: ProposalOptions = _NO_PROPOSAL, *, json: Json = False) -> int:
    """Lift an environment's hold.

    Args:
        environment: An environment.
        landing: What becomes of the commit.
        json: Print what changed as JSON.
    """
    start = landing.start(Repository.find())
    return _land(start, "unhold", environment, holding.unhold(environment), landing, json=json)


def rollback(
    environment: str,
    /,
    landing: ProposalOptions = _NO_PROPOSAL,
    *,
    to: str | None = None,
    reason: str = "rolled back",
    json: Json = False,
) -> int:
    """Pin what ran before, and hold the environment so that nothing undoes it.

    Args:
        environment: An environment.
        landing: What becomes of the commit.
        to: A commit whose pins to take. [default: the last ones before those of now]
        reason: Why, for everybody who runs into the hold.
        json: Print what changed as JSON.
    """
    repository = Repository.find()
    held = holding.hold_by(repository, reason)
    start = landing.start(repository)
    start.released(environment)
    target = holding.rollback_target(repository, environment, start.commit, to)
    edit = holding.roll_back(environment, target, held)
    return _land(start, "rollback", environment, edit, landing, json=json)


def _land(start: Snapshot, verb: str, environment: str, edit: Edit, options: ProposalOptions, *, json: bool) -> int:
    if options.pr and options.no_push:
        raise BadInputError("--pr and --no-push exclude one another: a pull request has to be pushed.")
    if options.no_push or options.dry_run:
        land_and_show(start, environment, edit, options, json=json)
        return 0
    pulls = PullRequests.from_environment(load_identity(start.repository.root), BRANCH)
    if options.pr:
        return _propose(start, f"{verb}/{environment}", edit, pulls, json=json)
    landed = land_and_show(start, environment, edit, options, json=json)
    _close_promotions(Snapshot(start.repository, landed or start.commit), environment, pulls)
    return 0


def _close_promotions(now: Snapshot, environment: str, pulls: PullRequests | None) -> None:
    """A promotion that was opened before the hold would go past it."""
    terminal = Terminal()
    _, release = now.released(environment)
    if release.held is None:
        return
    if pulls is None:
        terminal.note("Without GITHUB_TOKEN an open promotion stays open; the next `gitops promote` closes it.")
        return
    for url in close_promotions(pulls, now.environments, environment, f"{environment} is held: {release.held}"):
        terminal.done("closed", url)


def _propose(start: Snapshot, branch: str, edit: Edit, pulls: PullRequests | None, *, json: bool) -> int:
    terminal = Terminal()
    if pulls is None:
        raise BadInputError("--pr needs GITHUB_TOKEN, with the rights to write contents and pull requests.")
    proposal = edit(start)
    if not proposal.changes:
        terminal.line("It is like that already.")
        return 0
    title, _, details = proposal.message.partition("\n")
    commit = push_proposal(Trunk.find(start.repository), start, branch, proposal)
    kept = pulls.keep(branch, title, f"```text\n{details.strip()}\n```\n")
    if json:
        terminal.json({"branch": branch, "changes": proposal.changes, "commit": commit, "url": kept.url})
    else:
        terminal.line(f"{kept.outcome.capitalize()} {kept.url}: {title}")
    return 0
