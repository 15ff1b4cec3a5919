"""Hold services, release them, and roll them back."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.pins.bump import proposal
from gitops.pins.each import for_each
from gitops.pins.history import Step, before_now, same_pins, steps
from gitops.pins.release import Hold, Release
from gitops.platform.targets import Target


def hold_by(repository: Repository, reason: str) -> Hold:
    """Return a hold by the person who commits here, from now on.

    Raises:
        BadInputError: The reason is empty, or git has no author configured.
    """
    said = " ".join(reason.split())
    if not said:
        raise BadInputError("--reason: say why in a few words; everybody else sees this text.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Hold(reason=said, since=now, by=repository.author())


def hold_services(name: str, held: Hold) -> Edit:
    """Return the edit that holds services, or changes the reason of their holds; a commit for each.

    Args:
        name: ENV/SERVICE, or ENV for all of its services.
        held: The hold.

    The edit raises:
        BadInputError: There is no such target, or nothing is released to it.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        def propose(target: Target) -> Proposal:
            text, before = snapshot.released(target)
            after = before if before.held == held.reason else _held(before, held)
            return proposal("hold", target, text, before, after, what=held.reason)

        return for_each("hold", snapshot, name, propose)

    return edit


def lift_holds(name: str) -> Edit:
    """Return the edit that removes the holds of services; a commit for each.

    Args:
        name: ENV/SERVICE, or ENV for all of its services.

    The edit raises:
        BadInputError: There is no such target, or nothing is released to it.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        def propose(target: Target) -> Proposal:
            text, before = snapshot.released(target)
            return proposal("unhold", target, text, before, _held(before, None), what=before.held or "")

        return for_each("unhold", snapshot, name, propose)

    return edit


def roll_back(repository: Repository, revision: str, name: str, held: Hold, to: str | None = None) -> Edit:
    """Return the edit that restores earlier pins and holds the services, so that nothing undoes it; a commit for each.

    The pins to restore are determined once, from `revision`, so that another attempt after a lost race restores the
    same.

    Args:
        repository: The repository.
        revision: The commit whose pins to replace.
        name: ENV/SERVICE, or ENV for all of its services.
        held: The hold.
        to: A commit whose pins to restore; the default is the pins before those of `revision`.

    Raises:
        BadInputError: There is no such target or commit.

    The edit raises:
        BadInputError: Nothing is released, there are no earlier pins, they run already, or the clone lacks the history.
    """
    commit = repository.commit_named(to, "--to") if to else None
    known: dict[str, Step] = {}

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        def propose(target: Target) -> Proposal:
            if str(target) not in known:
                known[str(target)] = rollback_target(repository, target, revision, commit)
            return rolled_back(snapshot, target, known[str(target)], held)

        return for_each("rollback", snapshot, name, propose)

    return edit


def rollback_target(repository: Repository, target: Target, revision: str, to: str | None = None) -> Step:
    """Return the step whose pins to restore.

    Args:
        repository: The repository.
        target: The target to roll back.
        revision: The commit whose pins to replace.
        to: A commit whose pins to restore; the default is the pins before those of `revision`.

    Raises:
        BadInputError: Nothing was released then, there are no earlier pins, or the clone lacks the history.
    """
    if to:
        found = steps(repository, target, to)
        if not found or found[0].release is None:
            raise BadInputError(f"--to: at {to[:7]} nothing was released to {target}.")
        return found[0]
    if repository.is_shallow():
        # The missing history may include the step that was rolled back from.
        raise BadInputError(
            f"This clone lacks older history, so what {target} ran before is not known: git fetch --unshallow (in a "
            "workflow: fetch-depth: 0), or name a commit with --to."
        )
    found = steps(repository, target, revision)
    if not found:
        raise BadInputError(f"Nothing is released to {target}: {target.file} does not exist.")
    before = before_now(found)
    if before is None:
        raise BadInputError(f"{target} has no earlier pins to restore.")
    return before


def rolled_back(snapshot: Snapshot, target: Target, step: Step, held: Hold) -> Proposal:
    """Return the commit that restores the pins of a step, without a shadow, and holds the service.

    Raises:
        BadInputError: These pins run already.
    """
    if step.release is None:
        raise ValueError("a commit without a release cannot be restored")
    then = f"{step.commit.sha[:7]} of {step.commit.when:%Y-%m-%d %H:%M}"
    text, before = _readable(snapshot, target)
    if same_pins(before, step.release):
        raise BadInputError(f"{target} already runs the pins of {then}.")
    # A rollback restores what is known to work, so it drops the present shadow and the earlier one.
    after = step.release.tried_beside(None)
    reason = f"Back to {then}: {held.reason}"
    return proposal("rollback", target, text, before, _held(after, held), reason=reason)


def not_rolled_back(target: Target, why: str, exit_code: int = 0) -> Proposal:
    """Return a proposal without changes, for a rollback that is not made."""
    return Proposal(verb="rollback", subject=str(target), left_alone=why, exit_code=exit_code)


def _readable(snapshot: Snapshot, target: Target) -> tuple[str | None, Release | None]:
    """Return the file's text and content; both are None if it is missing or invalid, so that it is written again."""
    try:
        return snapshot.release(target)
    except BadInputError:
        return None, None


def _held(release: Release, held: Hold | None) -> Release:
    return msgspec.structs.replace(release, release=msgspec.structs.replace(release.release, hold=held))
