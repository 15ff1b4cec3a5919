"""What a service ran in an environment, since when, and who changed it, from git alone."""

from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest

from msgspec import UNSET, Struct

from gitops.errors import BadInputError
from gitops.git.repository import Commit, Repository
from gitops.pins.release import Change, Model, Release, Shadow, changes, read_release
from gitops.pins.wording import reason_in, what_moved
from gitops.platform.targets import Target

# Older commits are not searched for the reason of a training.
_STEPS_READ = 20


class Step(Struct, frozen=True, kw_only=True):
    """A commit that changed a release file; `release` is None if the file was removed or invalid."""

    commit: Commit
    release: Release | None


class Entry(Struct, frozen=True, kw_only=True):
    """A step for people and programs: where, who, when, and what changed, in words and by pin."""

    target: str
    commit: str
    author: str
    when: datetime
    subject: str
    moved: str
    changes: list[Change]


def steps(repository: Repository, target: Target, revision: str) -> list[Step]:
    """Return the commits up to a revision that changed what a target runs, the newest first; a merge counts as one."""
    commits = repository.log(target.file, revision)
    texts = repository.read_many([f"{commit.sha}:{target.file}" for commit in commits])
    return [Step(commit=commit, release=_readable(text)) for commit, text in zip(commits, texts, strict=True)]


def entries(target: Target, found: Sequence[Step]) -> list[Entry]:
    """Return the history entries of steps, which are sorted from the newest; each says what changed."""
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
    """Return the commit since which the pins of the newest step have been there; holds and metrics are not pins.

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
    """Return why a version was trained, from the newest commit that pinned it and says so; else empty.

    Args:
        repository: The repository of the steps.
        target: The target that runs the version.
        found: The steps of the target, the newest first.
        model: The version.
    """
    brought = [step.commit.sha for step in found if step.release and step.release.model.is_version(model)]
    said = (reason_in(message) for sha in brought[:_STEPS_READ] for message in repository.messages(sha, target.file))
    return next(filter(None, said), "")


def ever_ran(found: Sequence[Step], shadow: Shadow) -> bool:
    """Whether the version of a shadow answered in one of the steps; the digest must match too."""
    return any(step.release and shadow.is_model(step.release.model) for step in found)


def tried_since(found: Sequence[Step]) -> Commit:
    """Return the commit since which the model and the shadow of the newest step are compared, at any sample share.

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
    """Return the step to roll back to: the pins before the most recent forward release.

    Pins that were restored undo everything in between. So a second rollback goes one release further back, and never
    returns to what the first one left. If the newest step is invalid, the result is the newest valid one.
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
    """Whether two releases run the same chart, image and model; holds, metrics and shadows do not count."""
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
