"""Keep automation away from an environment, let it back, and go back to what ran before."""

from datetime import UTC, datetime

import msgspec

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.pins.bump import proposal
from gitops.pins.history import Step, before_now, same_pins, steps
from gitops.pins.release import Hold, Release


def hold_by(repository: Repository, reason: str) -> Hold:
    """A hold of the person who commits here, from now on.

    Raises:
        BadInputError: The reason is empty, or git does not know who commits.
    """
    said = " ".join(reason.split())
    if not said:
        raise BadInputError("--reason: say why in a few words; it is what everybody else gets to see.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Hold(reason=said, since=now, by=repository.author())


def hold(environment: str, held: Hold) -> Edit:
    """The edit that holds an environment, or gives its hold another reason.

    The edit raises:
        BadInputError: There is no such environment, or nothing is released to it.
    """

    def edit(snapshot: Snapshot) -> Proposal:
        text, before = snapshot.released(environment)
        after = before if before.held == held.reason else _held(before, held)
        return proposal("hold", environment, text, before, after, what=held.reason)

    return edit


def unhold(environment: str) -> Edit:
    """The edit that lifts an environment's hold.

    The edit raises:
        BadInputError: There is no such environment, or nothing is released to it.
    """

    def edit(snapshot: Snapshot) -> Proposal:
        text, before = snapshot.released(environment)
        return proposal("unhold", environment, text, before, _held(before, None), what=before.held or "")

    return edit


def rollback_target(repository: Repository, environment: str, revision: str, to: str | None) -> Step:
    """What to go back to.

    Args:
        repository: The repository.
        environment: An environment.
        revision: The commit to go back from.
        to: A commit whose pins are wanted; by default the last ones before those of `revision`.

    Raises:
        BadInputError: There is no such commit, or nothing was released then, or nothing else ever was.
    """
    found = steps(repository, environment, repository.commit_named(to, "--to") if to else revision)
    if to:
        if not found or found[0].release is None:
            raise BadInputError(f"--to: at {to} nothing was released to {environment}.")
        return found[0]
    target = before_now(found)
    if target is None:
        shallow = " This clone lacks older history: git fetch --unshallow." if repository.is_shallow() else ""
        raise BadInputError(f"{environment} has no earlier pins to go back to.{shallow}")
    return target


def roll_back(environment: str, target: Step, held: Hold) -> Edit:
    """The edit that pins what ran before, and holds the environment so that nothing undoes it.

    The edit raises:
        BadInputError: There is no such environment, nothing is released to it, or it runs that already.
    """
    release = target.release
    if release is None:
        raise ValueError("a step without a release is nothing to go back to")
    then = f"{target.commit.sha[:7]} of {target.commit.when:%Y-%m-%d %H:%M}"

    def edit(snapshot: Snapshot) -> Proposal:
        text, before = snapshot.released(environment)
        if same_pins(before, release):
            raise BadInputError(f"{environment} runs the pins of {then} already.")
        reason = f"Back to {then}: {held.reason}"
        return proposal("rollback", environment, text, before, _held(release, held), reason=reason)

    return edit


def _held(release: Release, held: Hold | None) -> Release:
    return msgspec.structs.replace(release, release=msgspec.structs.replace(release.release, hold=held))
