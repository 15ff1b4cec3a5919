"""Review pull requests to environments with a `from`.

There, pins may change only to what the source runs or to what ran before, and nothing else may change with them.
Promotion and rollback write such pull requests, but people can write them too. So each one is judged by its changes:
every commit of it, because after a merge by rebase each is a commit of the main branch. The rules come from the base:
its platform.yaml, its pins, its history.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.pins.history import steps
from gitops.pins.release import Change, Release
from gitops.platform.model import Platform
from gitops.platform.reader import FILE, decoded, platform_at
from gitops.platform.targets import Target, listed, source_of, targets
from gitops.promotion.files import GONE, Scope, problems_of_files, problems_of_tuning
from gitops.promotion.verdict import Proposed, judge

_NAMED = 5


class TargetReview(Struct, frozen=True, kw_only=True):
    """The changes of a pull request to one target: `origin` says where the pins come from."""

    target: str
    origin: str
    changes: list[Change]


class Review(Struct, frozen=True, kw_only=True):
    """The verdict: `problems` is empty if the pull request may be merged."""

    problems: list[str]
    targets: list[TargetReview]


class _Change(Struct, frozen=True, kw_only=True):
    """The files that a commit or the whole pull request changes, with their new modes."""

    commit: str
    files: Mapping[Path, str]


def review_changes(repository: Repository, base: str, head: str = "HEAD") -> Review:
    """Judge a pull request.

    Args:
        repository: The repository, with its whole history, which shows what ran before.
        base: The newest commit of the target branch.
        head: The newest commit of the pull request.

    Raises:
        BadInputError: There is no such commit, the clone lacks history, or the base's platform.yaml is invalid.
    """
    tip, last = repository.commit_named(base, "--base"), repository.commit_named(head, "--head")
    if repository.is_shallow():
        raise BadInputError(
            "This clone lacks older history, so what ran before is not known: git fetch --unshallow (in a workflow: "
            "fetch-depth: 0)."
        )
    commits = [_Change(commit=name, files=repository.touched(name)) for name in repository.commits_between(tip, last)]
    whole = _whole(repository, tip, last)
    return _Reviewer(repository, tip, last).judged(whole, commits)


class _Reviewer:
    """Judges a pull request by the rules of the base."""

    def __init__(self, repository: Repository, tip: str, last: str) -> None:
        self._repository = repository
        self._there = Snapshot(repository, tip)
        self._last = last
        self._platform = platform_at(self._there)
        proposed, self._unreadable = _proposed_platform(Snapshot(repository, last))
        self._scope = Scope.of(self._platform, proposed)
        self._fed = [target for target in targets(self._platform) if target.environment.source]

    def judged(self, whole: _Change, commits: Sequence[_Change]) -> Review:
        files: dict[Path, str] = {}
        for change in (*commits, whole):
            files |= change.files
        problems = [*self._unreadable, *self._together(files)]
        found: list[TargetReview] = []
        for target in self._fed:
            touching = [change for change in commits if target.file in change.files]
            if not touching and target.file not in whole.files:
                continue
            judged, said = self._target(target, whole, touching)
            found.append(judged)
            problems += said
        for change in (*commits, whole):
            problems += self._tuned(change)
        return Review(problems=list(dict.fromkeys(problems)), targets=found)

    def _together(self, files: Mapping[Path, str]) -> list[str]:
        """Return problems with the combination of files, and with files that no pull request may change."""
        problems = problems_of_files(files, self._scope)
        pins = [path for path in files if self._scope.is_pins(path) and not self._scope.leaves(path)]
        fed = [path for path in pins if any(path == target.file for target in self._fed)]
        if fed and (others := [path for path in files if path not in fed]):
            problems.append(
                f"A pull request that changes {_named(fed)} must change nothing else, so that a merge approves only "
                f"the pins; this one changes {_named(others)} too."
            )
        elif pins and FILE in files:
            problems.append(
                f"{FILE} says which environment feeds which, so a pull request that changes it must not move pins; "
                f"this one changes {_named(pins)} too."
            )
        return problems

    def _target(self, target: Target, whole: _Change, touching: Sequence[_Change]) -> tuple[TargetReview, list[str]]:
        source = source_of(self._platform, target)
        known = Proposed(
            target=target,
            source=source,
            before=_release(self._there, target),
            after=None,
            feeding=_release(self._there, source),
            earlier=steps(self._repository, target, self._there.commit),
            fed_by=steps(self._repository, source, self._there.commit),
            leaves=self._scope.leaves(target.file),
        )
        verdict = (
            judge(known.of(self._read(target, self._last)))
            if target.file in whole.files
            else judge(known.of(known.before))
        )
        problems = list(verdict.problems)
        for change in touching:
            # After a merge by rebase, each commit is on the main branch, and Argo CD may apply it.
            earlier = judge(known.of(self._read(target, change.commit)))
            problems += [
                f"At {change.commit[:7]}: {problem}" for problem in earlier.problems if problem not in problems
            ]
        return TargetReview(target=str(target), origin=verdict.origin, changes=list(verdict.changes)), problems

    def _read(self, target: Target, commit: str) -> str | None:
        return Snapshot(self._repository, commit).read(target.file)

    def _tuned(self, change: _Change) -> list[str]:
        snapshot = Snapshot(self._repository, change.commit)
        problems = []
        for path, mode in change.files.items():
            if mode != GONE and self._scope.tunes_fed(path):
                problems += problems_of_tuning(path, snapshot.read(path) or "")
        return problems


def _release(snapshot: Snapshot, target: Target) -> Release | None:
    """Return the release at the base; None for an invalid file, which may be fixed but proves nothing."""
    try:
        return snapshot.release(target)[1]
    except BadInputError:
        return None


def _whole(repository: Repository, tip: str, last: str) -> _Change:
    listed_files = repository.git("diff", "--raw", "--no-abbrev", "--no-renames", "-z", f"{tip}...{last}").split("\0")
    pairs = zip(listed_files[::2], listed_files[1::2], strict=False)
    return _Change(commit=last, files={Path(path): entry.split()[1] for entry, path in pairs if entry})


def _proposed_platform(here: Snapshot) -> tuple[Platform | None, list[str]]:
    """Return platform.yaml of the pull request, which says what is added and removed."""
    text = here.read(FILE)
    if text is None:
        return None, [f"{FILE} is removed, but nothing works without it."]
    try:
        return decoded(text), []
    except BadInputError as error:
        return None, [str(error)]


def _named(paths: Sequence[Path]) -> str:
    names = [str(path) for path in paths]
    return listed(names) if len(names) <= _NAMED else f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
