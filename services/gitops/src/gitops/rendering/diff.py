"""Compare two renderings, object by object."""

import difflib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gitops.errors import BadInputError, GitopsError
from gitops.git.repository import Repository
from gitops.platform.reader import FILE, load_platform
from gitops.platform.targets import ENVS, PLATFORM, Target, chosen, known_environment
from gitops.rendering.applications import APPS, MODELS, Application
from gitops.rendering.manifests import name_of, parse, text
from gitops.rendering.render import Rendered, Renderer, find_helm, select, selection
from gitops.rendering.several import render_all, render_each

_CONTEXT = 3
# The input of rendering.
_FOLDERS = (str(APPS), "argocd", "charts", str(ENVS), str(MODELS))

Translation = Callable[[str], str]


class ObjectChange(Struct, frozen=True, kw_only=True):
    """An object that differs, with a unified diff."""

    application: str
    object: str
    change: Literal["added", "changed", "removed"]
    diff: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What to compare the working tree with: one of these fields; HEAD if none is given."""

    revision: str | None = None
    against: str | None = None
    pins_of: str | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """The changes from `before` to `after`, which are descriptions of both sides.

    `problems` say what could not be compared; `exit_code` is the highest code of these.
    """

    before: str
    after: str
    objects: list[ObjectChange]
    problems: list[str] = []
    exit_code: int = 0


class _Side(Struct, kw_only=True):
    """One rendering, and the names of applications that failed to render."""

    rendered: list[Rendered] = []
    failed: set[str] = set()
    problems: dict[str, int] = {}

    def add_problem(self, why: str, exit_code: int = BadInputError.exit_code) -> None:
        self.problems[why] = exit_code


def compare(repository: Repository, name: str, apps: Sequence[str], comparison: Comparison) -> Difference:
    """Render twice and compare; an application that does not render does not stop the others.

    Args:
        repository: The repository, with its working tree.
        name: An environment, ENV/SERVICE, or `platform`.
        apps: Only these applications; all if empty.
        comparison: The other side.

    Raises:
        BadInputError: The comparison has more than one field, or names something that does not exist.
    """
    asked = [entry for entry in (comparison.revision, comparison.against, comparison.pins_of) if entry]
    if len(asked) > 1:
        raise BadInputError("--revision, --against and --pins-of ask for different comparisons: give one of them.")
    if name == PLATFORM and (comparison.against or comparison.pins_of):
        raise BadInputError(f"--against and --pins-of compare environments, but {PLATFORM} is not one.")
    root, helm = repository.root, find_helm(repository.root)
    if comparison.pins_of:
        return _with_other_pins(root, helm, name, comparison.pins_of, apps)
    now = _side(root, helm, name, apps)
    if comparison.against:
        return _against(root, helm, name, comparison.against, now)
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        tree = Path(scratch)
        revision = comparison.revision or "HEAD"
        repository.export(revision, tree)
        before = _side(tree, helm, name, apps, strict=False)
        return _difference(revision, "the working tree", before, now)


def _with_other_pins(root: Path, helm: str, name: str, other: str, apps: Sequence[str]) -> Difference:
    platform = load_platform(root)
    source = known_environment(platform, other.partition("/")[0])
    wanted = chosen(platform, name)
    pairs = [(target, Target(environment=source, service=target.service)) for target in wanted]
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        folder = Path(scratch)
        with_pins_of(root, pairs, folder)
        after = _side(folder, helm, name, apps)
        before = _side(root, helm, name, apps, strict=False)
        return _difference(name, f"{name} with the pins of {source.name}", before, after)


def _against(root: Path, helm: str, name: str, other: str, now: _Side) -> Difference:
    platform = load_platform(root)
    # ENV compares all services. ENV/SERVICE compares the service of the same name, unless another is given.
    _, slash, service = name.partition("/")
    left = other if "/" in other or not slash else f"{other}/{service}"
    pairs = list(zip(chosen(platform, left), chosen(platform, name), strict=False))
    return _difference(left, name, _side(root, helm, left, ()), now, translation_between(pairs))


def _difference(
    before: str, after: str, old: _Side, new: _Side, translation: Translation = lambda text: text
) -> Difference:
    # An application that failed on one side must not look added or removed.
    failed = {*map(translation, old.failed), *new.failed}
    problems = {**old.problems, **new.problems}
    changes = differences(old.rendered, new.rendered, translation)
    return Difference(
        before=before,
        after=after,
        objects=[change for change in changes if change.application not in failed],
        problems=list(problems),
        exit_code=max(problems.values(), default=0),
    )


def differences(
    before: Sequence[Rendered], after: Sequence[Rendered], translation: Translation = lambda text: text
) -> list[ObjectChange]:
    """Compare two renderings.

    Args:
        before: The rendering to compare with.
        after: The present rendering.
        translation: Replaces names in `before` by those in `after`, if the two are different environments.
    """
    old, new = _objects(before, translation), _objects(after, lambda text: text)
    changes = []
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key, ""), new.get(key, "")
        if left == right:
            continue
        application, title = key
        lines = difflib.unified_diff(
            left.splitlines(keepends=True), right.splitlines(keepends=True), f"a/{title}", f"b/{title}", n=_CONTEXT
        )
        change: Literal["added", "changed", "removed"] = (
            "changed" if left and right else "added" if right else "removed"
        )
        changes.append(ObjectChange(application=application, object=title, change=change, diff="".join(lines)))
    return changes


def translation_between(pairs: Sequence[tuple[Target, Target]]) -> Translation:
    """Return a function that replaces the names of the first targets by those of the second ones."""
    names: dict[str, str] = {}
    for other, target in pairs:
        names |= {other.application: target.application, other.namespace: target.namespace}
        names |= {other.release_name: target.release_name}
    names = {old: new for old, new in names.items() if old != new}
    if not names:
        return lambda content: content
    # The longest first, because serving-staging contains serving.
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w-])({alternatives})\b(?!\.)")
    return lambda content: pattern.sub(lambda match: names[match[0]], content)


def promoted(tree: Path, helm: str, target: Target, source: Target, apps: Sequence[str] = ()) -> list[ObjectChange]:
    """Return the changes in a target if it gets the pins of another; the whole target if nothing is released to it yet.

    Args:
        tree: The repository's files.
        helm: The Helm program.
        target: The service in its environment.
        source: Where the pins come from.
        apps: Only these applications; all if empty.

    Raises:
        BadInputError: Nothing is released to the source, or something does not render.
        OutageError: A chart's registry does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        other = Path(scratch)
        with_pins_of(tree, [(target, source)], other)
        after = _rendered(other, helm, select(other, helm, str(target), apps))
        before = _rendered(tree, helm, select(tree, helm, str(target), apps, strict=False))
        return differences(before, after)


def with_pins_of(root: Path, pairs: Sequence[tuple[Target, Target]], folder: Path) -> None:
    """Copy the input of rendering to a folder, where the first target of each pair has the pins of the second.

    Raises:
        BadInputError: Nothing is released to any of the second targets.
    """
    released = [(target, source) for target, source in pairs if (root / source.file).is_file()]
    if not released:
        names = ", ".join(str(source.file) for _, source in pairs)
        raise BadInputError(f"Nothing is released there: there is no {names} to take pins from.")
    for name in _FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, symlinks=True)
    shutil.copyfile(root / FILE, folder / FILE)
    for target, source in released:
        (folder / target.folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / source.file, folder / target.file)


def _side(tree: Path, helm: str, name: str, apps: Sequence[str], *, strict: bool = True) -> _Side:
    selected = selection(tree, helm, name, apps, strict=strict)
    side = _Side(failed=set(selected.broken))
    for problem in selected.problems:
        side.add_problem(problem)
    if not selected.applications:
        return side
    outcomes = render_each(Renderer(tree, helm), selected.applications)
    for application, outcome in zip(selected.applications, outcomes, strict=True):
        if isinstance(outcome, GitopsError):
            side.failed.add(application.name)
            side.add_problem(str(outcome), outcome.exit_code)
        else:
            side.rendered.append(outcome)
    return side


def _rendered(tree: Path, helm: str, selected: Sequence[Application]) -> list[Rendered]:
    return render_all(Renderer(tree, helm), selected) if selected else []


def _objects(rendered: Sequence[Rendered], translation: Translation) -> dict[tuple[str, str], str]:
    objects = {}
    for entry in rendered:
        application = translation(entry.application.name)
        for manifest in entry.manifests:
            content = translation(text(manifest))
            objects[application, name_of(parse(content)[0])] = content
    return objects
