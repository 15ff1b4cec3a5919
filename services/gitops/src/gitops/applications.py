"""What Argo CD would run from a tree: the Applications of apps/, and those that its ApplicationSet makes of envs/."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from gitops.errors import BadInputError

APPS = Path("apps")
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELD = re.compile(r"(\.[A-Za-z_][A-Za-z0-9_]*)+")


class Helm(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How a source is rendered with Helm."""

    value_files: list[str] = []
    release_name: str = ""


class Directory(Struct, frozen=True, forbid_unknown_fields=True):
    """Which files of a folder count."""

    recurse: bool = False
    exclude: str = ""


class Source(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One source of an Application: a folder of a git repository, or a chart of a registry or chart repository."""

    repo_url: str = msgspec.field(name="repoURL")
    target_revision: str = "HEAD"
    path: str = ""
    chart: str = ""
    ref: str = ""
    helm: Helm = Helm()
    directory: Directory = Directory()


class Destination(Struct, frozen=True):
    """Where an Application's objects go."""

    namespace: str = ""


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


class Application(Struct, frozen=True, kw_only=True):
    """An Application: `environment` is the one whose release.yaml it comes from, None for the platform's."""

    name: str
    project: str
    namespace: str
    sources: list[Source]
    file: Path
    environment: str | None = None


def applications(tree: Path) -> list[Application]:
    """The Applications of a tree, those of released environments included.

    Raises:
        BadInputError: A file is not as it should be, or uses a feature of Argo CD that is not known here.
    """
    found: list[Application] = []
    for path in sorted((tree / APPS).glob("*.yaml")):
        file = path.relative_to(tree)
        for document in documents(path, file):
            if document.get("kind") == "Application":
                found.append(_application(document, file))
            elif document.get("kind") == "ApplicationSet":
                found.extend(_generated(document, tree, file))
    return found


def documents(path: Path, name: Path) -> list[dict[str, Any]]:
    """The mappings of a YAML file.

    Raises:
        BadInputError: The file is missing or no YAML.
    """
    try:
        return [
            document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(document, dict)
        ]
    except OSError as error:
        raise BadInputError(f"{name} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise BadInputError(f"{name} is no YAML: {error}.") from None


def _application(document: Mapping[str, Any], file: Path, environment: str | None = None) -> Application:
    try:
        manifest = msgspec.convert(document, _Manifest)
    except msgspec.ValidationError as error:
        raise BadInputError(f"{file} is no Application that can be rendered here: {error}.") from None
    spec = manifest.spec
    return Application(
        name=manifest.metadata.name,
        project=spec.project,
        namespace=spec.destination.namespace,
        sources=[spec.source] if spec.source else spec.sources,
        file=file,
        environment=environment,
    )


def _generated(document: Mapping[str, Any], tree: Path, file: Path) -> list[Application]:
    spec = document.get("spec") or {}
    if unknown := spec.keys() & {"templatePatch", "strategy"}:
        raise BadInputError(f"{file}: an ApplicationSet with {', '.join(sorted(unknown))} cannot be rendered here.")
    found = []
    for generator in spec.get("generators") or []:
        files = (generator.get("git") or {}).get("files")
        if not files:
            raise BadInputError(f"{file}: only a git generator over files can be rendered here.")
        for path in sorted({path for entry in files for path in tree.glob(entry["path"])}):
            parameters = {
                **documents(path, path.relative_to(tree))[0],
                "path": _path_parameters(path.relative_to(tree)),
            }
            manifest = expanded(spec["template"], parameters, file)
            found.append(_application(manifest, file, environment=path.parent.name))
    return found


def _path_parameters(path: Path) -> dict[str, Any]:
    return {
        "path": str(path.parent),
        "basename": path.parent.name,
        "filename": path.name,
        "basenameNormalized": re.sub(r"[^a-z0-9.-]", "-", path.parent.name.lower()),
        "segments": list(path.parent.parts),
    }


def expanded(template: Any, parameters: Mapping[str, Any], file: Path) -> Any:
    """Fill the fields of a Go template into every string; as with missingkey=error, an unknown field is an error.

    Raises:
        BadInputError: A template names a field that the parameters lack, or does more than name fields.
    """
    if isinstance(template, Mapping):
        return {key: expanded(value, parameters, file) for key, value in template.items()}
    if isinstance(template, list):
        return [expanded(value, parameters, file) for value in template]
    if isinstance(template, str):
        return _ACTION.sub(lambda match: _field(match[1], parameters, file), template)
    return template


def _field(expression: str, parameters: Mapping[str, Any], file: Path) -> str:
    if not _FIELD.fullmatch(expression):
        raise BadInputError(f"{file}: only fields can be filled in here, and {{{{ {expression} }}}} does more.")
    value: Any = parameters
    for name in expression[1:].split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise BadInputError(f"{file}: {{{{ {expression} }}}} is not in the file that the ApplicationSet reads.")
        value = value[name]
    return str(value)
