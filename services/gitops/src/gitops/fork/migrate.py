"""Migrate a fork from the layout before version 0.2, in the working tree; safe to run again after an interruption.

Each step writes the new file before it removes the old one. The file that identifies the old layout is removed last.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.files import write_whole
from gitops.fork import owners, previous, vendoring
from gitops.fork.adopt import forge_of, refuse_sparse
from gitops.fork.previous import IDENTITY, LEGACY, Identity
from gitops.git.repository import Repository
from gitops.pins.images import with_image
from gitops.pins.release import Image, load_release
from gitops.pins.yaml_edit import edited
from gitops.platform.entries import flow
from gitops.platform.reader import FILE, read_platform
from gitops.platform.targets import ENVS, PINS, PLATFORM, TUNING

_SUFFIXES = ("-classifier", "-regressor", "-model")
# The fields of an image pin in the old layout.
_PINNED = {"repository", "tag", "digest"}
_FIRST_MODEL = "iris-classifier"
_SMOKE_COMMENT = "What the smoke test found good becomes the registry's"
_TEXT = """\
# yaml-language-server: $schema=services/gitops/platform.schema.json
# The facts of this fork. `gitops adopt` writes where it lives; `gitops new service` and `gitops new environment` write
# the lists. Applications, projects, namespaces, Secrets, policies and routes of promotion derive from it.
repository: {repository}
branch: main
forge: {forge}
registry: {registry}
# In the order of promotion. Machines update an environment without `from`; the others change only by pull requests.
environments:
{environments}services:
  - {service}
"""


class Migration(Struct, frozen=True, kw_only=True):
    """The result: files that were written, files that were removed, and what a person must check."""

    written: list[str]
    removed: list[str]
    by_hand: list[str]


def migrate_fork(repository: Repository, service: str = "") -> Migration:
    """Migrate a fork; nothing is committed.

    Args:
        repository: A fork in the layout before version 0.2, with or without upstream's new files.
        service: Name of the one service. [by default from its model: iris for iris-classifier]

    Raises:
        BadInputError: The old layout is not there, a file is invalid, or the model gives the service no name.
    """
    refuse_sparse(repository)
    root = repository.root
    identity = previous.load_identity(root)
    names = _environments(root, identity)
    model = _model(root, names)
    name = service or _short(model)
    text = _platform(root, identity, names, name, model)
    read_platform(text)
    moving = _Moving(root)
    moving.write(FILE, text)
    for environment in names:
        moving.environment(ENVS / environment, environment, name)
    for path in sorted((root / ENVS / PLATFORM).glob("*.yaml")):
        moving.part(path.relative_to(root), identity)
    moving.argocd()
    if (root / "apps/Chart.yaml").is_file():
        moving.leftovers(identity)
    else:
        moving.mentions(repository, identity)
    moving.remove(IDENTITY)
    return Migration(written=moving.written, removed=moving.removed, by_hand=moving.by_hand)


class _Moving:
    """The steps; each may have been done by an interrupted run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: list[str] = []
        self.removed: list[str] = []
        self.by_hand: list[str] = []

    def write(self, path: Path, text: str) -> None:
        if self.read(path) != text:
            write_whole(self.root / path, text)
            self.written.append(str(path))

    def remove(self, path: Path) -> None:
        if (self.root / path).is_file():
            (self.root / path).unlink()
            self.removed.append(str(path))

    def read(self, path: Path) -> str | None:
        full = self.root / path
        return full.read_bytes().decode() if full.is_file() else None

    def environment(self, folder: Path, environment: str, service: str) -> None:
        """Move an environment's tuning, then its pins: the pins mark an environment that is still to do."""
        if (text := self.read(folder / TUNING)) is not None:
            there = folder / service / TUNING
            self.write(there, _tuning(text, self.read(there), environment, str(folder / TUNING)))
            self.remove(folder / TUNING)
        if (text := self.read(folder / PINS)) is not None:
            self.write(folder / service / PINS, text)
            self.remove(folder / PINS)

    def part(self, path: Path, identity: Identity) -> None:
        """Move the pins in the values of a shared part to a separate file; the rest stays."""
        text = self.read(path) or ""
        values = _mapping(text, str(path))
        image = values.get("image")
        if isinstance(image, dict) and image.get("digest"):
            pinned = Image(**{key: image.get(key, "") for key in _PINNED})
            pins = path.parent / "pins" / path.name
            self.write(pins, self.read(pins) or with_image(None, pinned, str(pins)))
        if isinstance(image, dict) and image.keys() <= _PINNED:
            own = image.get("digest") or str(image.get("repository", "")).startswith(
                (identity.registry, "ghcr.io/OWNER")
            )
            text = without_key(text, "image") if own else text
        if path.stem == "training":
            text = self._training(text, path)
        if text != (self.read(path) or ""):
            self.write(path, text)

    def _training(self, text: str, path: Path) -> str:
        values = _mapping(text, str(path))
        for key, shipped in previous.TRAINING.items():
            if values.get(key) == shipped:
                text = without_key(text, key)
            elif key in values and key != "resources":
                self.by_hand.append(f"{path}: {key} now belongs in models/NAME/training.yaml: move it there.")
        if "environment" in (values.get("bump") or {}):
            self.by_hand.append(f"{path}: bump.environment now follows from platform.yaml: remove the line.")
        return text

    def argocd(self) -> None:
        """Move the install manifest to a separate folder, and restore upstream's kustomization."""
        if (text := self.read(previous.VENDORED)) is not None:
            version = vendoring.version_in(text)
            self.write(vendoring.MANIFEST, text)
            self.write(vendoring.VENDORED / "kustomization.yaml", vendoring.KUSTOMIZATION)
            kustomization = self.read(vendoring.INSTALL) or ""
            address = f"https://raw.githubusercontent.com/argoproj/argo-cd/{version}/manifests/install.yaml"
            if version and f"- {previous.VENDORED.name}" in kustomization:
                self.write(vendoring.INSTALL, kustomization.replace(f"- {previous.VENDORED.name}", f"- {address}"))
            self.remove(previous.VENDORED)

    def leftovers(self, identity: Identity) -> None:
        """Remove upstream's files of the old layout; keep and list those that somebody changed or added."""
        for name in previous.FILES:
            if (text := self.read(Path(name))) is None:
                continue
            if previous.untouched(Path(name), text, identity):
                self.remove(Path(name))
            else:
                self.by_hand.append(
                    f"{name} was changed here: make the same change in the file that replaces it, and delete it."
                )
        for path in sorted((self.root / "apps").glob("*.yaml")):
            where = path.relative_to(self.root)
            if path.is_symlink():  # A symbolic link of upstream, to texts that the chart reads.
                continue
            if str(where) not in previous.FILES and path.name not in ("Chart.yaml", "values.yaml"):
                self.write(Path("apps/extra") / path.name, self.read(where) or "")
                self.remove(where)

    def mentions(self, repository: Repository, identity: Identity) -> None:
        """Restore upstream's placeholders in upstream's files, so that its next version merges without conflicts."""
        for path in repository.tracked():
            own = path.parts[0] in (str(ENVS), str(FILE)) or path == IDENTITY or (self.root / path).is_symlink()
            content = b"\0" if own else (self.root / path).read_bytes()
            if b"\0" in content or not identity.adopted:
                continue
            text = content.decode(errors="surrogateescape")
            if (put_back := previous.without_mentions(text, identity)) != text:
                write_whole(self.root / path, put_back)
                self.written.append(str(path))


def without_key(text: str, key: str) -> str:
    """Return a YAML mapping's text without one of its keys; the rest does not change.

    Raises:
        BadInputError: The text cannot be edited in this way.
    """
    values = _mapping(text, key)
    if key not in values:
        return text
    document = yaml.compose(text, yaml.SafeLoader)
    nodes = [pair for pair in document.value if pair[0].value == key] if document else []
    start = text.rfind("\n", 0, nodes[0][0].start_mark.index) + 1
    # YAML parsers count blank lines and comments after a block as part of it, but they belong to the next key.
    lines = text[start : nodes[0][1].end_mark.index].splitlines(keepends=True)
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    end = text.find("\n", start + sum(map(len, lines)) - 1) + 1 or len(text)
    result = text[:start] + text[end:]
    if (loaded(result) or {}) != {name: value for name, value in values.items() if name != key}:
        raise BadInputError(f"{key} cannot be removed from a values file: edit it by hand.")
    return result


def _tuning(old: str, new: str | None, environment: str, name: str) -> str:
    """Return the tuning of the one service: the fork's values and upstream's, without those that are now derived."""
    values = _mapping(old, name)
    if values.get("smoke") == {"alias": environment}:
        old = without_key(old, "smoke")
        lines = old.splitlines(keepends=True)
        old = "".join(line for line in lines if not line.startswith(f"# {_SMOKE_COMMENT}"))
        values.pop("smoke")
    beside = {key: value for key, value in _mapping(new or "", name).items() if key not in values}
    return edited(old, beside, name) if beside else old


def _platform(root: Path, identity: Identity, names: list[str], service: str, model: str) -> str:
    path = root / FILE
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        here = loaded(text) or {}
        known = {entry.get("name"): entry for entry in here.get("environments") or []}
        entries = [known.get(name) or _environment(name, names) for name in names]
        owner = next((entry.get("owner") for entry in here.get("services") or []), "")
    else:
        text, entries, owner = "", [_environment(name, names) for name in names], ""
    codeowners = root / owners.FILE
    found = owners.owners_of(codeowners.read_text(encoding="utf-8"), "README.md") if codeowners.is_file() else []
    owner = next(iter(found), owner)
    vendored = (root / previous.VENDORED).is_file() or (root / vendoring.MANIFEST).is_file()
    named = {"name": service, "model": model, **({"owner": owner} if owner else {}), "legacyName": LEGACY}
    registry = {"prefix": identity.registry, "plainHttp": identity.plain_http}
    forge = forge_of(identity.repository) or "github"
    base = _TEXT.format(
        repository=identity.repository,
        forge=forge,
        registry=flow(registry),
        environments="".join(f"  - {flow(entry)}\n" for entry in entries),
        service=flow(named),
    )
    more: Mapping[str, Any] = {"argocd": {"vendored": True}} if vendored else {}
    return edited(base, {**_own_facts(text), **more}, str(FILE))


def _own_facts(text: str) -> dict[str, Any]:
    """Return the settings of an existing platform.yaml that are not migrated."""
    migrated = {"repository", "registry", "environments", "services", "forge"}
    return {key: value for key, value in (loaded(text) or {}).items() if key not in migrated}


def _environment(name: str, names: list[str]) -> dict[str, Any]:
    if name == "production" and "staging" in names:
        return {"name": name, "from": "staging", "minAge": "10m"}
    return {"name": name}


def _environments(root: Path, identity: Identity) -> list[str]:
    """Return the environments; after an interruption also the migrated ones, which the new file names."""
    text = (root / FILE).read_text(encoding="utf-8") if (root / FILE).is_file() else ""
    facts = loaded(text) or {}
    begun = facts.get("repository") == identity.repository
    moved = [entry["name"] for entry in facts.get("environments") or []] if begun else []
    return [*moved, *(name for name in previous.old_environments(root) if name not in moved)]


def _model(root: Path, names: list[str]) -> str:
    """Return the registered model of any release, in either layout."""
    for name in names:
        for path in (
            ENVS / name / PINS,
            *(found.relative_to(root) for found in (root / ENVS / name).glob(f"*/{PINS}")),
        ):
            if release := load_release(root / path, path):
                return release.model.name
    return _FIRST_MODEL


def _short(model: str) -> str:
    for suffix in _SUFFIXES:
        model = model.removesuffix(suffix)
    return model.lower().replace("_", "-").replace(".", "-")


def _mapping(text: str, name: str) -> dict[str, Any]:
    try:
        values = loaded(text)
    except YAMLError as error:
        raise BadInputError(f"{name} is not valid YAML: {error}. Fix it, and migrate again.") from None
    if values is not None and not isinstance(values, dict):
        raise BadInputError(f"{name} holds no values: it must be a mapping. Fix it, and migrate again.")
    return values or {}
