"""What a pull request may do to production: move its pins to what staging runs or production ran, and nothing beside.

Promotion and rollback write such pull requests. A person may write one too, so each is judged by what it changes.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.pins.history import Step, same_pins, steps
from gitops.pins.release import Change, Release, changes, read_release
from gitops.platform.environments import ENVS, release_file

_SOURCE = "staging"
_TARGET = "production"
_PINS = release_file(_TARGET)
_TUNING = ENVS / _TARGET / "values.yaml"


class Proposed(Struct, frozen=True, kw_only=True):
    """A pull request, as far as production is concerned.

    `files` are the paths that it changes; `before` and `staging` stand at the tip of the branch that it would go into;
    `after` is what it makes of production; `earlier` are production's releases so far, the newest first.
    """

    files: Sequence[Path]
    before: Release | None
    after: Release | None
    staging: Release | None
    earlier: Sequence[Step]


class Review(Struct, frozen=True, kw_only=True):
    """The verdict: `problems` is empty for what may be merged, `origin` says where the pins come from."""

    problems: list[str]
    changes: list[Change]
    origin: str


def review(repository: Repository, base: str) -> Review:
    """Judge the commit that is checked out.

    Args:
        repository: The repository; its history must reach back to the pins that a rollback returns to.
        base: The tip of the branch that the pull request would go into.

    Raises:
        BadInputError: There is no such commit, or a release file in question is not as it should be.
    """
    tip, head = repository.commit_named(base, "--base"), repository.commit_named("HEAD")
    names = repository.git("diff", "--name-only", "--no-renames", "-z", f"{tip}...{head}").split("\0")
    there, here = Snapshot(repository, tip), Snapshot(repository, head)
    return judge(
        Proposed(
            files=[Path(name) for name in names if name],
            before=_release(there, _TARGET),
            after=_release(here, _TARGET),
            staging=_release(there, _SOURCE),
            earlier=steps(repository, _TARGET, tip),
        )
    )


def judge(proposed: Proposed) -> Review:
    """Judge a pull request by what it changes."""
    mine = [path for path in proposed.files if path.is_relative_to(_PINS.parent)]
    strangers = [str(path) for path in mine if path not in (_PINS, _TUNING)]
    problems = [
        f"{_PINS.parent} holds {_PINS.name} and {_TUNING.name} alone: {name} has no place there." for name in strangers
    ]
    if _PINS not in mine:
        return Review(problems=problems, changes=[], origin="no pin moves")
    others = [str(path) for path in proposed.files if path != _PINS]
    if others:
        problems.append(
            f"A pull request that changes {_PINS} changes nothing else, so that merging it approves the pins alone; "
            f"this one changes {_listed(others)} too."
        )
    if proposed.after is None:
        problems.append(f"{_PINS} is gone, which would take production away: do that by hand, not by a promotion.")
        return Review(problems=problems, changes=[], origin="none")
    origin, found = _origin(proposed, proposed.after)
    return Review(
        problems=[*problems, *found, *_holds(proposed, proposed.after)],
        changes=changes(proposed.before, proposed.after),
        origin=origin,
    )


def _origin(proposed: Proposed, after: Release) -> tuple[str, list[str]]:
    """Where the pins come from; the figures beside them must come from there too, for they are what people judge by."""
    origins = [("unchanged", proposed.before), (_SOURCE, proposed.staging)]
    origins += [(f"production at {step.commit.sha[:7]}", step.release) for step in proposed.earlier]
    same = [(name, release) for name, release in origins if release and same_pins(release, after)]
    if not same:
        problem = (
            f"These pins are neither those of {_SOURCE} nor any that production ran: they reach production through "
            f"{_SOURCE} (`gitops bump {_SOURCE}`, then `gitops promote`)."
        )
        return "none", [problem]
    for name, release in same:
        if release.release.metrics == after.release.metrics:
            return name, []
    return same[0][0], [f"The metrics are not those that stand beside these pins in {same[0][0]}."]


def _holds(proposed: Proposed, after: Release) -> list[str]:
    before, staging = proposed.before, proposed.staging
    if before is None or same_pins(before, after):
        return []
    problems = []
    if before.held is not None and after.release.hold in (None, before.release.hold):
        # A rollback moves a held environment, and writes a hold of its own.
        problems.append(f"Production is held ({before.held}): its pins move after `gitops unhold production` alone.")
    ran_before = any(same_pins(step.release, after) for step in proposed.earlier)
    if not ran_before and staging is not None and staging.held is not None:
        problems.append(f"{_SOURCE.capitalize()} is held ({staging.held}): what it runs goes nowhere until it is not.")
    return problems


def _release(snapshot: Snapshot, environment: str) -> Release | None:
    file = release_file(environment)
    text = snapshot.read(file)
    return None if text is None else read_release(text, f"{file} at {snapshot.commit[:7]}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
