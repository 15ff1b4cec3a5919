"""What a service ran in an environment, when, and who said so: told from git alone."""

from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest

from msgspec import UNSET, Struct

from gitops.errors import BadInputError
from gitops.git.repository import Commit, Repository
from gitops.pins.release import Change, Model, Release, Shadow, changes, read_release
from gitops.pins.wording import reason_in, what_moved
from gitops.platform.targets import Target

# A version that was bumped by image and chart so often since is no news any more.
_STEPS_READ = 20


class Step(Struct, frozen=True, kw_only=True):
    """One commit that changed a release file; `release` is None where it was removed, or broken then."""

    commit: Commit
    release: Release | None


class Entry(Struct, frozen=True, kw_only=True):
    """One step for people and programs: where, who, when, and what changed by it, in words and pin by pin."""

    target: str
    commit: str
    author: str
    when: datetime
    subject: str
    moved: str
    changes: list[Change]


def steps(repository: Repository, target: Target, revision: str) -> list[Step]:
    """The commits up to a revision that changed what a target runs, the newest first: merges count as one."""
    commits = repository.log(target.file, revision)
    texts = repository.read_many([f"{commit.sha}:{target.file}" for commit in commits])
    return [Step(commit=commit, release=_readable(text)) for commit, text in zip(commits, texts, strict=True)]


def entries(target: Target, found: Sequence[Step]) -> list[Entry]:
    """Steps of a target, the newest first, with what each changed."""
    earlier = [step.release for step in found[1:]]
    return [_entry(target, step, before) for step, before in zip_longest(found, earlier)]


def _entry(target: Target, step: Step, before: Release | None) -> Entry:
    moved = changes(before, step.release) if step.release else []
    return Entry(
        target=str(target),
        commit=step.commit.sha,
        author=step.commit.author,
        when=step.commit.when,
        subject=step.commit.subject,
        moved=what_moved(moved, step.release) if step.release else "nothing that can be run",
        changes=moved,
    )


def since(found: Sequence[Step]) -> Commit:
    """The commit that brought the pins of the newest step; holds and metrics are not pins.

    Args:
        found: At least one step, the newest first.
    """
    newest = found[0]
    brought = newest.commit
    for step in found:
        if not same_pins(step.release, newest.release):
            break
        brought = step.commit
    return brought


def why_trained(repository: Repository, target: Target, found: Sequence[Step], model: Model) -> str:
    """Why a version was trained, as the newest commit says that brought it; empty where none does.

    Args:
        repository: Where the steps are.
        target: Who has the version.
        found: The steps of it, the newest first.
        model: The version.
    """
    brought = [step.commit.sha for step in found if step.release and step.release.model.is_version(model)]
    said = (reason_in(message) for sha in brought[:_STEPS_READ] for message in repository.messages(sha, target.file))
    return next(filter(None, said), "")


def ever_ran(found: Sequence[Step], shadow: Shadow) -> bool:
    """Whether a shadow's version answered in one of the steps, the same by its content too."""
    return any(step.release and shadow.is_model(step.release.model) for step in found)


def tried_since(found: Sequence[Step]) -> Commit:
    """The commit since which the newest step's model and shadow are compared, whatever share of the requests.

    Args:
        found: At least one step, the newest first; the newest has a shadow.
    """
    brought, pair = found[0].commit, _compared(found[0].release)
    for step in found:
        if _compared(step.release) != pair:
            break
        brought = step.commit
    return brought


def before_now(found: Sequence[Step]) -> Step | None:
    """The step to roll back to: the pins before the most recent forward release.

    Pins that come back undo everything between, so that rolling back twice goes two releases back, and never returns to
    what was rolled back from. If the newest step cannot be read, it is the last one that can.
    """
    path: list[Step] = []
    for step in reversed(found):
        if step.release is None:
            continue
        again = [number for number, one in enumerate(path) if same_pins(one.release, step.release)]
        path = [*path[: again[0]], step] if again else [*path, step]
    if found and found[0].release is None:
        return path[-1] if path else None
    return path[-2] if len(path) > 1 else None


def same_pins(one: Release | None, other: Release | None) -> bool:
    """Whether two releases run the same: chart, image and model, whatever their holds, metrics and shadows."""
    if one is None or other is None:
        return one is other
    return _pins(one) == _pins(other)


def _pins(release: Release) -> tuple[object, ...]:
    return (release.release.chart, release.release.chart_digest or UNSET, release.image, release.model)


def _compared(release: Release | None) -> tuple[object, ...] | None:
    if release is None or release.tried is None:
        return None
    shadow = release.tried
    return release.model, shadow.version, shadow.digest, shadow.uri


def _readable(text: str | None) -> Release | None:
    if text is None:
        return None
    try:
        return read_release(text, "")
    except BadInputError:
        return None
