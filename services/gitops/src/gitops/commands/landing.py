"""Shared by the commands that write: where their commits go, and how the result is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cyclopts import Parameter
from msgspec import Struct

from gitops.commands.options import Flag
from gitops.errors import BadInputError, NotWantedError
from gitops.forge.choice import needed_forge
from gitops.forge.protocol import Forge
from gitops.forge.rules import PULL_REQUESTS
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.git.trunk import Landed, Landing, Trunk, land_here
from gitops.pins.release import Change
from gitops.pins.wording import words
from gitops.platform.model import Platform
from gitops.platform.reader import load_platform, platform_at
from gitops.promotion.carrying import with_what_waits
from gitops.promotion.promote import push_proposal
from gitops.terminal import Terminal

BUMP = "bump"
_DONE, _NOT_WANTED, _BAD_INPUT = 0, NotWantedError.exit_code, BadInputError.exit_code


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LandingOptions:
    """What to do with the commits; by default, push them to the branch that Argo CD reads."""

    no_push: Flag = False
    """Commit to the checked-out branch, and push nothing."""
    pr: Flag = False
    """Open a pull request for each commit instead, if the branch is protected."""
    dry_run: Flag = False
    """Print what would be committed, and change nothing."""

    def of_machines(self, platform: Platform) -> "LandingOptions":
        """Return the options for a command that automation runs: with pull-request bumps, open one for each commit."""
        proposes = platform.bumps == PULL_REQUESTS and not (self.no_push or self.dry_run)
        return replace(self, pr=True) if proposes else self

    def start(self, repository: Repository) -> Snapshot:
        """Return the files that the commits start from.

        Raises:
            BadInputError: Options exclude one another, there is no remote, or platform.yaml is invalid.
            OutageError: The remote does not answer.
        """
        if self.pr and self.no_push:
            raise BadInputError("--pr and --no-push exclude one another: a pull request must be pushed.")
        if self.no_push:
            return Snapshot(repository, repository.commit_named("HEAD"))
        return trunk_of(repository).newest()


NO_LANDING = LandingOptions()


class Shown(Struct, frozen=True, kw_only=True):
    """The result for one target, for programs."""

    target: str
    files: list[str]
    changes: list[Change]
    commit: str | None
    left_alone: str = ""
    branch: str | None = None
    url: str | None = None


class Fate(Struct, frozen=True, kw_only=True):
    """The result of an edit: the newest commit that was pushed, if any, and the exit code of the command."""

    commit: str | None
    exit_code: int


def trunk_of(repository: Repository) -> Trunk:
    """Return the branch that Argo CD reads, at its remote; platform.yaml in the working tree names it.

    Raises:
        BadInputError: There is no remote, or platform.yaml is invalid.
    """
    return Trunk.find(repository, load_platform(repository.root).branch)


def land_and_show(start: Snapshot, edit: Edit, options: LandingOptions, *, json: bool) -> Fate:
    """Apply an edit as the options say (push, propose, commit here, or only show), and show the result.

    Raises:
        GitopsError: The edit is not possible, or the remote or the forge refuses it.
    """
    if options.dry_run:
        return _shown([Landed(proposal=proposal, commit=None) for proposal in edit(start)], None, "", json=json)
    if options.pr:
        return _propose(start, edit, json=json)
    terminal, repository = Terminal(), start.repository
    trunk = None if options.no_push else trunk_of(repository)
    with terminal.working("Committing"):
        landing = trunk.land(start, edit) if trunk else land_here(start, edit)
    fate = _shown(landing.landed, landing, trunk.branch if trunk else "", json=json)
    if trunk and not landing.local:
        terminal.note(_left_behind(repository, trunk.branch))
    return fate


def exit_code_of(proposals: Sequence[Proposal]) -> int:
    """Return 2 if a release file is invalid, 3 if every released target is held, else 0."""
    failed = [entry for entry in proposals if entry.left_alone and entry.exit_code]
    if any(entry.exit_code != _NOT_WANTED for entry in failed):
        return _BAD_INPUT
    released = [entry for entry in proposals if not entry.left_alone]
    return _NOT_WANTED if failed and not released else _DONE


def _propose(start: Snapshot, edit: Edit, *, json: bool) -> Fate:
    terminal, platform = Terminal(), platform_at(start)
    forge = needed_forge(platform, "--pr", "Without it, the commit is pushed to the branch itself.")
    trunk = Trunk.find(start.repository, platform.branch)
    proposals = with_what_waits(trunk, start, edit, forge)
    shown = []
    for proposal in proposals:
        if not proposal.files:
            shown.append(_as_shown(Landed(proposal=proposal, commit=None)))
            continue
        result, notes = _proposed(trunk, start, forge, proposal)
        shown.append(result)
        for note in notes:
            terminal.note(f"{result.url} {note}")
        if not json:
            terminal.line(f"{shown[-1].url}: {proposal.message.partition(chr(10))[0]}")
    if json:
        terminal.json({"commit": None, "attempts": 1, "targets": shown})
    else:
        _say_left_alone(terminal, proposals)
    return Fate(commit=None, exit_code=exit_code_of(proposals))


def _proposed(trunk: Trunk, start: Snapshot, forge: Forge, proposal: Proposal) -> tuple[Shown, list[str]]:
    """Return the result of a proposal, and notes about its pull request."""
    title, _, details = proposal.message.partition("\n")
    commit = push_proposal(trunk, start, proposal)
    kept = forge.keep(proposal.branch, title, f"```text\n{details.strip()}\n```\n", [proposal.verb])
    shown = _as_shown(Landed(proposal=proposal, commit=commit), branch=proposal.branch, url=kept.url)
    notes = [f"has no label: {kept.unlabelled}"] if kept.unlabelled else []
    # Nobody approves bumps, so they merge automatically. Every other pull request waits for a person.
    if proposal.verb == BUMP and kept.outcome != "merged":
        pull = forge.open_from(proposal.branch)
        why = forge.merge_itself(pull) if pull else ""
        notes += [f"does not merge itself: {why.rstrip('.')}."] if why else []
    return shown, notes


def _as_shown(entry: Landed, *, branch: str | None = None, url: str | None = None) -> Shown:
    proposal = entry.proposal
    return Shown(
        target=proposal.subject,
        files=[str(path) for path in proposal.files],
        changes=list(proposal.changes),
        commit=entry.commit,
        left_alone=proposal.left_alone,
        branch=branch,
        url=url,
    )


def _shown(landed: Sequence[Landed], landing: Landing | None, branch: str, *, json: bool) -> Fate:
    terminal, proposals = Terminal(), [entry.proposal for entry in landed]
    commit = landing.commit if landing else None
    if json:
        outcome = {"commit": commit, "attempts": landing.attempts if landing else 0}
        terminal.json({**outcome, "targets": [_as_shown(entry) for entry in landed]})
        return Fate(commit=commit, exit_code=exit_code_of(proposals))
    for entry in landed:
        _show_one(terminal, entry)
    _say_left_alone(terminal, proposals)
    if any(proposal.files for proposal in proposals):
        terminal.line(_fate(landing, branch))
    return Fate(commit=commit, exit_code=exit_code_of(proposals))


def _show_one(terminal: Terminal, entry: Landed) -> None:
    proposal = entry.proposal
    if proposal.left_alone:
        return
    if not proposal.files:
        terminal.line(f"{proposal.subject} needs no change.")
        return
    subject = proposal.message.partition("\n")[0]
    if proposal.changes:
        rows = [[change.pin, words(change.before), words(change.after)] for change in proposal.changes]
        terminal.rows(subject, ("pin", "before", "after"), rows)
        return
    terminal.line(subject)
    for path, text in proposal.files.items():
        terminal.line(f"  {'removed' if text is None else 'written'}: {path}")


def _say_left_alone(terminal: Terminal, proposals: Sequence[Proposal]) -> None:
    for proposal in proposals:
        if proposal.left_alone:
            terminal.note(f"{proposal.subject} is not changed: {proposal.left_alone}")


def _fate(landing: Landing | None, branch: str) -> str:
    if landing is None or landing.commit is None:
        return "Nothing was committed."
    tries = f", at attempt {landing.attempts}" if landing.attempts > 1 else ""
    where = f"pushed to {branch}{tries}" if landing.pushed else "push it to deploy it"
    commits = [entry.commit[:7] for entry in landing.landed if entry.commit]
    return f"Committed as {', '.join(commits)}; {where}."


def _left_behind(repository: Repository, branch: str) -> str:
    elsewhere = repository.worktree_of(branch)
    if elsewhere and elsewhere.resolve() != repository.root.resolve():
        return f"{branch} is checked out in {elsewhere}, so it is not updated there: git -C {elsewhere} pull."
    return f"Your local {branch} has other commits or edits, so it is not updated: git pull --rebase."
