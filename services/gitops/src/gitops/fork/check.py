"""Find inconsistencies in a fork, each reported in a sentence; reads only the working tree."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from gitops.documents import YAMLError, loaded, loaded_all
from gitops.errors import BadInputError
from gitops.forge.rules import PULL_REQUESTS, machine_paths
from gitops.fork import owners, vendoring
from gitops.fork.hosts import claimed_twice
from gitops.fork.models import model_files, model_problems, unserved
from gitops.fork.runners import problems_of_runners
from gitops.fork.values import files_without_reader, problems_of_values
from gitops.git.repository import Repository
from gitops.pins.release import Release, read_release
from gitops.platform.model import Platform
from gitops.platform.reader import FILE, load_platform
from gitops.platform.targets import ENVS, PINS, PLATFORM, TUNING, Target, listed, targets

# Files of the layout before version 0.2.
_OLD = ("argocd/identity.yaml", "argocd/projects/serving.yaml", "apps/serving.yaml")
_LFS = "version https://git-lfs.github.com/"


class Findings(Struct, frozen=True, kw_only=True):
    """Problems, and notes that are no problems."""

    problems: list[str]
    notes: list[str]


def find_inconsistencies(repository: Repository) -> Findings:
    """Check the working tree of a fork."""
    root = repository.root
    old = list(_old_layout(root))
    try:
        platform = load_platform(root)
    except BadInputError as error:
        return Findings(problems=[*str(error).splitlines(), *old], notes=[])
    models = model_files(root)
    problems = [
        *old,
        *_folders(root, platform),
        *_ordinary_files(root),
        *_releases(root, platform),
        *claimed_twice(platform, lambda path: _read(root / path)),
        *problems_of_values(root),
        *files_without_reader(root, platform),
        *_owners(root, platform),
        *_vendored(root, platform),
        *problems_of_runners(root, platform),
        *model_problems(root, models),
    ]
    notes = [*_unreleased(root, platform), *unserved(platform, models), *_extra(root), *_canaries(root, platform)]
    return Findings(problems=problems, notes=notes)


def _old_layout(root: Path) -> Iterator[str]:
    left = [name for name in _OLD if (root / name).exists()]
    left += [str(path.relative_to(root)) for path in sorted((root / ENVS).glob(f"*/{PINS}"))]
    if left:
        yield f"{listed(left)}: left from the layout before version 0.2; `gitops migrate` moves or removes it."


def _folders(root: Path, platform: Platform) -> Iterator[str]:
    environments = {entry.name for entry in platform.environments}
    services = {entry.name for entry in platform.services}
    for folder in sorted((root / ENVS).glob("*/")):
        if folder.name == PLATFORM:
            continue
        if folder.name not in environments:
            yield f"{ENVS}/{folder.name}: {FILE} has no such environment: add it there, or remove the folder."
            continue
        for inner in sorted(folder.glob("*/")):
            if inner.name not in services:
                where = inner.relative_to(root)
                yield f"{where}: there is no service {inner.name!r} in {FILE}: add it there, or remove the folder."


def _ordinary_files(root: Path) -> Iterator[str]:
    for path in sorted((root / ENVS).rglob("*")):
        where = path.relative_to(root)
        if path.is_symlink():
            yield f"{where} is a symbolic link, which Argo CD and reviews do not follow: put the content itself there."
        elif path.is_file() and (_read(path) or "").startswith(_LFS):
            yield f"{where} is stored in Git LFS, so Argo CD sees a pointer: remove {ENVS}/ from .gitattributes."


def _releases(root: Path, platform: Platform) -> Iterator[str]:
    for target in targets(platform):
        try:
            release = _release(root, target)
        except BadInputError as error:
            yield str(error)
            continue
        if release and release.model.name != target.service.model:
            yield (
                f"{target.file} pins {release.model.name}, but {FILE} says that {target.service.name} serves "
                f"{target.service.model}: bump it to a version of that model, or change {FILE}."
            )
        if release and release.tried and release.tried.is_model(release.model):
            yield (
                f"{target.file}: the shadow is the version that answers, so there is nothing to compare: "
                f"gitops shadow {target} --off."
            )


def _canaries(root: Path, platform: Platform) -> Iterator[str]:
    """Report services with the canary strategy in Argo CD's cluster, if nothing installs Argo Rollouts there."""
    if platform.rollouts:
        return
    for target in targets(platform):
        folder = root / target.file.parent
        files = [root / ENVS / TUNING, folder.parent / TUNING, folder / TUNING]
        said = [strategy for path in files if (strategy := _strategy(path))]
        if said and said[-1] == "canary" and not target.environment.cluster:
            yield (
                f"{target} has rollout.strategy canary, but nothing here installs Argo Rollouts: if the cluster does "
                f"not have it, set rollouts: true in {FILE}."
            )


def _strategy(path: Path) -> object:
    """Return the rollout strategy in a values file; None if it has none."""
    try:
        values = loaded(_read(path) or "")
    except YAMLError:
        return None
    rollout = values.get("rollout") if isinstance(values, dict) else None
    return rollout.get("strategy") if isinstance(rollout, dict) else None


def _owners(root: Path, platform: Platform) -> Iterator[str]:
    text = _read(root / owners.FILE)
    if text is None:
        return
    yield from _owned_by_machines(text, platform)
    for service in platform.services:
        if not service.owner:
            continue
        for environment in platform.environments:
            if platform.bumps == PULL_REQUESTS and not environment.source:
                continue
            path = str(Target(environment=environment, service=service).file)
            if service.owner not in (found := owners.owners_of(text, path)):
                pattern = owners.pattern_of_service(service.name)
                yield (
                    f"{owners.FILE}: {path} belongs to {listed(found) if found else 'nobody'}, but {FILE} says "
                    f"{service.owner}: add the line `{pattern} {service.owner}` at its end."
                )
                break
    for environment in platform.environments:
        path = f"{ENVS}/{environment.name}/{TUNING}"
        if environment.source and not owners.owners_of(text, path):
            pattern = owners.pattern_of_environment(environment.name)
            yield f"{owners.FILE}: nobody owns {pattern}, which only pull requests change: add a line with an owner."


def _owned_by_machines(text: str, platform: Platform) -> Iterator[str]:
    """Report files of automatic pull requests that have owners, whose approval these would wait for forever."""
    if platform.bumps != PULL_REQUESTS:
        return
    for pattern in machine_paths(platform):
        if found := owners.owners_of(text, pattern.replace("*", "any")):
            yield (
                f"{owners.FILE}: /{pattern} belongs to {listed(found)}, but {FILE} says that its pull requests merge "
                f"themselves: add the line `/{pattern}`, without an owner, at its end."
            )


def _vendored(root: Path, platform: Platform) -> Iterator[str]:
    if not platform.argocd.vendored:
        return
    try:
        pinned, there = vendoring.pinned_version(root), vendoring.vendored_version(root)
    except BadInputError:
        yield f"{vendoring.MANIFEST} is missing, but {FILE} says that it exists: run gitops adopt --vendor-argocd FILE"
        return
    if pinned and there and pinned != there:
        yield (
            f"{vendoring.MANIFEST} is Argo CD {there}, but {vendoring.INSTALL} pins {pinned}: run gitops adopt "
            f"--vendor-argocd FILE, with the manifest of {pinned}."
        )


def _unreleased(root: Path, platform: Platform) -> Iterator[str]:
    for target in targets(platform):
        source = f"{ENVS}/{target.environment.source}/{target.service.name}/{PINS}"
        if target.environment.source and (root / source).is_file() and not (root / target.file).is_file():
            yield f"{target} was never released, but {target.environment.source} was: run `gitops promote {target}`."


def _extra(root: Path) -> Iterator[str]:
    for path in sorted((root / "apps/extra").glob("*.yaml")):
        where = path.relative_to(root)
        try:
            documents = [entry for entry in loaded_all(_read(path) or "") if entry is not None]
        except YAMLError as error:
            yield f"{where} is not valid YAML, so Argo CD applies none of apps/extra: {error}."
            continue
        for entry in documents:
            if not isinstance(entry, dict) or not {"apiVersion", "kind", "metadata"} <= entry.keys():
                yield f"{where} holds something that is not a Kubernetes object with apiVersion, kind and metadata."


def _release(root: Path, target: Target) -> Release | None:
    text = _read(root / target.file)
    return None if text is None else read_release(text, str(target.file))


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace") if path.is_file() else None
    except OSError:
        return None
