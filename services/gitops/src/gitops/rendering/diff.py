"""What changes between two renderings, object by object."""

import difflib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.platform.environments import ENVS, PLATFORM, application_of, checked_environment, namespace_of, release_file
from gitops.rendering.applications import APPS, Application
from gitops.rendering.manifests import name_of, parse, text
from gitops.rendering.render import Rendered, Renderer, find_helm, select

_CONTEXT = 3
# What rendering reads.
_FOLDERS = (str(APPS), "argocd", "charts", str(ENVS))

Translation = Callable[[str], str]


class ObjectChange(Struct, frozen=True, kw_only=True):
    """One object that differs, with a unified diff."""

    application: str
    object: str
    change: Literal["added", "changed", "removed"]
    diff: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What the working tree is compared with: one of these; HEAD where none is given."""

    revision: str | None = None
    against: str | None = None
    pins_of: str | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """What changes from `before` to `after`, both in words."""

    before: str
    after: str
    objects: list[ObjectChange]


def compare(repository: Repository, environment: str, names: Sequence[str], comparison: Comparison) -> Difference:
    """Render an environment twice and compare.

    Args:
        repository: The repository, with its working tree.
        environment: An environment, or `platform`.
        names: Only these applications; all where there are none.
        comparison: The other side.

    Raises:
        BadInputError: The comparison names more than one thing, or one that is not there, or something does not render.
        OutageError: A chart's registry does not answer.
    """
    asked = [name for name in (comparison.revision, comparison.against, comparison.pins_of) if name]
    if len(asked) > 1:
        raise BadInputError("--revision, --against and --pins-of ask for different comparisons: name one.")
    if environment == PLATFORM and (comparison.against or comparison.pins_of):
        raise BadInputError(f"--against and --pins-of compare environments, and {PLATFORM} is none.")
    root, helm = repository.root, find_helm(repository.root)
    if comparison.pins_of:
        after = f"{environment} with the pins of {comparison.pins_of}"
        objects = promoted(root, helm, environment, comparison.pins_of, names)
        return Difference(before=environment, after=after, objects=objects)
    now = _rendered(root, helm, select(root, environment, names))
    if comparison.against:
        other = _rendered(root, helm, select(root, comparison.against))
        objects = differences(other, now, translation_between(comparison.against, environment))
        return Difference(before=comparison.against, after=environment, objects=objects)
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        tree = Path(scratch)
        revision = comparison.revision or "HEAD"
        repository.export(revision, tree)
        before = _rendered(tree, helm, select(tree, environment, names, strict=False))
        return Difference(before=revision, after="the working tree", objects=differences(before, now))


def differences(
    before: Sequence[Rendered], after: Sequence[Rendered], translation: Translation = lambda text: text
) -> list[ObjectChange]:
    """Compare two renderings.

    Args:
        before: The one to compare with.
        after: The one that is asked about.
        translation: Turns the texts of `before` into the names of `after`, where the two are of different environments.
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


def translation_between(other: str, environment: str) -> Translation:
    """Turns names of one environment into those of another, so that only real differences stay."""
    names = {application_of(other): application_of(environment), namespace_of(other): namespace_of(environment)}
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b(?!\.)")
    return lambda content: pattern.sub(lambda match: names[match[0]], content)


def promoted(tree: Path, helm: str, environment: str, source: str, names: Sequence[str] = ()) -> list[ObjectChange]:
    """What changes in an environment when it gets the pins of another; all of it where nothing is released to it yet.

    Args:
        tree: The repository's files.
        helm: The Helm program.
        environment: The environment.
        source: Where the pins come from.
        names: Only these applications; all where there are none.

    Raises:
        BadInputError: There is no such environment, nothing is released to the source, or something does not render.
        OutageError: A chart's registry does not answer.
    """
    checked_environment(tree, environment)
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        other = Path(scratch)
        with_pins_of(tree, environment, source, other)
        after = _rendered(other, helm, select(other, environment, names))
        return differences(_rendered(tree, helm, select(tree, environment, names, strict=False)), after)


def with_pins_of(root: Path, environment: str, source: str, folder: Path) -> None:
    """Copy what rendering reads into a folder, with one environment's pins in place of another's.

    Raises:
        BadInputError: There is no such environment, or nothing is released to the source.
    """
    checked_environment(root, source)
    if not (root / release_file(source)).is_file():
        raise BadInputError(f"Nothing is released to {source}: there is no {release_file(source)} to take pins from.")
    for name in _FOLDERS:
        shutil.copytree(root / name, folder / name, symlinks=True)
    shutil.copyfile(root / release_file(source), folder / release_file(environment))


def _rendered(tree: Path, helm: str, chosen: Sequence[Application]) -> list[Rendered]:
    renderer = Renderer(tree, helm) if chosen else None
    return [renderer.render(application) for application in chosen] if renderer else []


def _objects(rendered: Sequence[Rendered], translation: Translation) -> dict[tuple[str, str], str]:
    objects = {}
    for entry in rendered:
        application = translation(entry.application.name)
        for manifest in entry.manifests:
            content = translation(text(manifest))
            objects[application, name_of(parse(content)[0])] = content
    return objects
