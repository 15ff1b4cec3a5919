"""The applications that Argo CD would run from a tree: those in the chart apps/, and those of its ApplicationSets.

People add their own files in apps/extra: one that cannot be read here is reported, and does not stop the others.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from gitops.documents import YAMLError, loaded, loaded_all
from gitops.errors import BadInputError
from gitops.platform.reader import FILE
from gitops.programs import ProgramFailedError, run

APPS = Path("apps")
EXTRA = APPS / "extra"
MODELS = Path("models")
_HELM_SECONDS = 60.0
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELD = re.compile(r"(\.[A-Za-z_][A-Za-z0-9_]*)+")
_KINDS = ("Application", "ApplicationSet")
_T = TypeVar("_T")


class FileParameter(Struct, frozen=True):
    """A value whose content is a file."""

    name: str
    path: str


class Parameter(Struct, frozen=True, rename="camel"):
    """A value by its path, as for `helm --set`; with `force_string` as for `--set-string`."""

    name: str
    value: str = ""
    force_string: bool = False


class Helm(Struct, frozen=True, rename="camel"):
    """The Helm options of a source: later fields override earlier ones, in this order."""

    value_files: list[str] = []
    values: str = ""
    values_object: dict[str, Any] = {}
    parameters: list[Parameter] = []
    file_parameters: list[FileParameter] = []
    release_name: str = ""
    ignore_missing_value_files: bool = False


class Directory(Struct, frozen=True):
    """The files of a folder that count."""

    recurse: bool = False
    exclude: str = ""
    include: str = ""


class Source(Struct, frozen=True, rename="camel"):
    """A source of an Application: a folder of a git repository, or a chart of a registry or chart repository."""

    repo_url: str = msgspec.field(name="repoURL")
    target_revision: str = "HEAD"
    path: str = ""
    chart: str = ""
    ref: str = ""
    helm: Helm | None = None
    kustomize: dict[str, Any] | None = None
    directory: Directory | None = None
    plugin: dict[str, Any] | None = None


class Destination(Struct, frozen=True):
    """The destination of an Application's objects: a cluster by its API server or its name, and a namespace."""

    namespace: str = ""
    server: str = ""
    name: str = ""


class _Spec(Struct, frozen=True):
    project: str
    destination: Destination
    source: Source | None = None
    sources: list[Source] = []


class _Metadata(Struct, frozen=True):
    name: str


class _Manifest(Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec


class _SetMetadata(Struct, frozen=True):
    name: str = ""


class _Set(Struct, frozen=True):
    metadata: _SetMetadata = _SetMetadata()
    spec: dict[str, Any] | None = None


class _SetSpec(Struct, frozen=True):
    generators: list[dict[str, Any]] | None = None
    template: dict[str, Any] | None = None


class _Pattern(Struct, frozen=True):
    path: str
    exclude: bool = False


class _Git(Struct, frozen=True):
    files: list[_Pattern] | None = None
    directories: list[_Pattern] | None = None


class _List(Struct, frozen=True):
    elements: list[dict[str, Any]] | None = None


class _Generator(Struct, frozen=True):
    git: _Git | None = None
    list: _List | None = None


class Application(Struct, frozen=True, kw_only=True):
    """An Application: its origin in the repository, and its whole manifest."""

    name: str
    project: str
    destination: Destination
    sources: list[Source]
    origin: str
    manifest: Mapping[str, Any]

    @property
    def namespace(self) -> str:
        """Return the namespace of objects that name none."""
        return self.destination.namespace


class Unread(Struct, frozen=True, kw_only=True):
    """A file or entry that is not supported here, though Argo CD may accept it; `why` is a sentence."""

    origin: str
    why: str


class Found(Struct, frozen=True, kw_only=True):
    """Everything in a tree: `projects` are whole manifests; `unread` is what was left out."""

    applications: list[Application]
    projects: list[Mapping[str, Any]]
    unread: list[Unread]

    def named(self, name: str) -> Application | None:
        """Return the application with this name, if there is one."""
        return next((entry for entry in self.applications if entry.name == name), None)


def applications(tree: Path, helm: str) -> Found:
    """Return everything that Argo CD runs from a tree.

    Args:
        tree: The repository's files.
        helm: The Helm program.

    Raises:
        BadInputError: The chart in apps/ does not render.
    """
    found = Found(applications=[], projects=[], unread=[])
    for document in chart_documents(tree, helm):
        _add(found, document, tree, f"{APPS} ({document['metadata']['name']})")
    for path in sorted((tree / EXTRA).glob("*.yaml")):
        origin = str(path.relative_to(tree))
        try:
            documents = [entry for entry in loaded_all(path.read_text(encoding="utf-8")) if entry is not None]
        except (OSError, UnicodeDecodeError, YAMLError) as error:
            found.unread.append(Unread(origin=origin, why=f"it is not valid YAML: {error}"))
            continue
        for document in documents:
            if isinstance(document, dict):
                _add(found, document, tree, origin)
    return found


def chart_documents(tree: Path, helm: str) -> list[dict[str, Any]]:
    """Render the chart in apps/: projects, Applications and ApplicationSets.

    Raises:
        BadInputError: It does not render.
    """
    try:
        text = _rendered(helm, tuple(_contents(tree)))
    except (OSError, ProgramFailedError):
        # Render again in place, so that Helm's error names the files that people know.
        try:
            text = _helm_template(helm, tree)
        except ProgramFailedError as error:
            raise BadInputError(f"{APPS} does not render with {FILE}: {error.errors}") from None
    return [document for document in loaded_all(text) if isinstance(document, dict)]


def _contents(tree: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the input by its path in the tree: platform.yaml and the chart's files, with links resolved."""
    for path in (tree / FILE, *sorted((tree / APPS).rglob("*"))):
        if not path.is_dir():
            yield path.relative_to(tree), path.read_bytes()


@lru_cache(maxsize=16)
def _rendered(helm: str, contents: tuple[tuple[Path, bytes], ...]) -> str:
    """Render the chart; cached by content, because a command often compares trees with the same files."""
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        for name, content in contents:
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return _helm_template(helm, Path(scratch))


def _helm_template(helm: str, tree: Path) -> str:
    command = [helm, "template", "apps", str(tree / APPS), "--namespace", "argocd", "--values", str(tree / FILE)]
    return run(command, timeout=_HELM_SECONDS)


def _add(found: Found, document: Mapping[str, Any], tree: Path, origin: str) -> None:
    kind = document.get("kind")
    if kind == "AppProject":
        _add_project(found, document, origin)
    if kind not in _KINDS:
        return
    try:
        manifests = [document] if kind == "Application" else list(expanded(document, tree))
    except BadInputError as error:
        found.unread.append(Unread(origin=origin, why=str(error)))
        return
    for manifest in manifests:
        try:
            found.applications.append(_application(manifest, origin))
        except BadInputError as error:
            found.unread.append(Unread(origin=origin, why=str(error)))


def _add_project(found: Found, document: Mapping[str, Any], origin: str) -> None:
    try:
        msgspec.convert(document.get("metadata"), _Metadata)
    except msgspec.ValidationError as error:
        found.unread.append(Unread(origin=origin, why=f"it is an AppProject without a valid metadata.name: {error}"))
    else:
        found.projects.append(document)


def _application(document: Mapping[str, Any], origin: str) -> Application:
    try:
        manifest = msgspec.convert(document, _Manifest)
    except msgspec.ValidationError as error:
        raise BadInputError(f"{origin} is not an Application that can be rendered here: {error}.") from None
    spec = manifest.spec
    return Application(
        name=manifest.metadata.name,
        project=spec.project,
        destination=spec.destination,
        sources=spec.sources or ([spec.source] if spec.source else []),
        origin=origin,
        manifest=document,
    )


def expanded(document: Mapping[str, Any], tree: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the Applications of an ApplicationSet: git generators over files and folders, and lists.

    Raises:
        BadInputError: A generator, a template or a file that it reads is not supported here.
    """
    name, spec = _checked(document)
    if unknown := spec.keys() & {"templatePatch", "strategy"}:
        raise BadInputError(f"ApplicationSet {name}: {', '.join(sorted(unknown))} cannot be expanded here.")
    checked = _converted(spec, _SetSpec, name)
    for generator in checked.generators or []:
        for parameters in _parameters(generator, tree, name):
            yield {
                "apiVersion": document.get("apiVersion"),
                "kind": "Application",
                **filled(checked.template or {}, parameters, name),
            }


def _checked(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of an ApplicationSet, and its spec."""
    checked = _converted(document, _Set, "")
    return checked.metadata.name, checked.spec or {}


def _converted(content: object, kind: type[_T], name: str) -> _T:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise BadInputError(f"{f'ApplicationSet {name}'.strip()}: {error}.") from None


def _parameters(generator: Mapping[str, Any], tree: Path, name: str) -> Iterator[Mapping[str, Any]]:
    checked = _converted(generator, _Generator, name)
    git = checked.git or _Git()
    if generator.keys() == {"list"}:
        yield from (checked.list or _List()).elements or []
    elif generator.keys() == {"git"} and git.files:
        for path in _matching(tree, git.files, name):
            yield {
                **_mapping(path, path.relative_to(tree)),
                "path": _path_parameters(path.relative_to(tree).parent, path.name),
            }
    elif generator.keys() == {"git"} and git.directories:
        for path in _matching(tree, git.directories, name):
            if path.is_dir():
                yield {"path": _path_parameters(path.relative_to(tree))}
    else:
        raise BadInputError(f"ApplicationSet {name}: the generator {', '.join(generator)} cannot be expanded here.")


def _matching(tree: Path, patterns: list[_Pattern], name: str) -> list[Path]:
    excluded = {path for each in patterns if each.exclude for path in _glob(tree, each.path, name)}
    chosen = {path for each in patterns if not each.exclude for path in _glob(tree, each.path, name)}
    return sorted(chosen - excluded)


def _glob(tree: Path, pattern: str, name: str) -> list[Path]:
    if not pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise BadInputError(f"ApplicationSet {name}: {pattern!r} is not a path in the repository.")
    try:
        return list(tree.glob(pattern))
    except ValueError as error:
        raise BadInputError(f"ApplicationSet {name}: {pattern!r} is not a pattern of paths: {error}.") from None


def _mapping(path: Path, name: Path) -> dict[str, Any]:
    try:
        content = loaded(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise BadInputError(f"{name} is not valid YAML: {error}.") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{name} does not hold a mapping.")
    return content


def _path_parameters(folder: Path, filename: str = "") -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "path": str(folder),
        "basename": folder.name,
        "basenameNormalized": re.sub(r"[^a-z0-9.-]", "-", folder.name.lower()),
        "segments": list(folder.parts),
    }
    return parameters | ({"filename": filename} if filename else {})


def filled(template: Any, parameters: Mapping[str, Any], name: str) -> Any:
    """Fill the fields of a Go template in every string; an unknown field is an error, as with missingkey=error.

    Raises:
        BadInputError: A template names an unknown field, or contains more than fields.
    """
    if isinstance(template, Mapping):
        return {key: filled(value, parameters, name) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, parameters, name) for value in template]
    if isinstance(template, str):
        return _ACTION.sub(lambda match: _field(match[1], parameters, name), template)
    return template


def _field(expression: str, parameters: Mapping[str, Any], name: str) -> str:
    if not _FIELD.fullmatch(expression):
        raise BadInputError(
            f"ApplicationSet {name}: only fields can be filled in here, but {{{{ {expression} }}}} does more."
        )
    value: Any = parameters
    for part in expression[1:].split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise BadInputError(
                f"ApplicationSet {name}: {{{{ {expression} }}}} is not in the files that its generator reads."
            )
        value = value[part]
    return str(value)
