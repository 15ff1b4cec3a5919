"""Checks of the folders in models/: files that training would refuse, and models that no service serves."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.fork.schemas import read_schema, refused_keys, refused_values
from gitops.platform.model import Platform
from gitops.platform.targets import listed

# The schema that training writes of its settings, for editors.
_SCHEMA = Path("training/training.schema.json")
_REQUIRED = ("name", "data")
# The name of a built-in data set, an address, or a path on a volume.
_ELSEWHERE = re.compile(r"[a-z]+(-[a-z]+)*|[A-Za-z][A-Za-z0-9+.-]*://.+|/.+")


class ModelFile(Struct, frozen=True):
    """A training.yaml: its path, and its content, or why it cannot be read."""

    path: Path
    settings: Any = None
    unreadable: str = ""

    @property
    def name(self) -> str:
        """Return the model that it registers; empty if it names none."""
        name = self.settings.get("name") if isinstance(self.settings, dict) else None
        return name if isinstance(name, str) else ""


def model_files(root: Path) -> list[ModelFile]:
    """Return the files of all folders, sorted."""
    return [_read(root, path) for path in sorted(root.glob("models/*/training.yaml"))]


def model_problems(root: Path, files: Sequence[ModelFile]) -> Iterator[str]:
    """Report what training would refuse: invalid files, keys and values, and two folders that register one model."""
    try:
        schema = read_schema(root, _SCHEMA)
    except BadInputError as error:
        schema = {}
        yield str(error)
    folders: dict[str, list[str]] = {}
    for file in files:
        yield from _problems_of_file(root, file, schema)
        if file.name:
            folders.setdefault(file.name, []).append(str(file.path.parent))
    for name, several in folders.items():
        if len(several) > 1:
            yield f"{listed(several)} register the same model {name!r}: give each its own name."


def unserved(platform: Platform, files: Sequence[ModelFile]) -> Iterator[str]:
    """Report models that are trained, but that no service serves."""
    served = {service.model for service in platform.services}
    for file in files:
        if file.name and file.name not in served:
            folder = file.path.parent
            yield (
                f"{folder} trains {file.name}, which no service serves: "
                f"`gitops new service {folder.name} --model {file.name} --owner OWNER`."
            )


def _read(root: Path, path: Path) -> ModelFile:
    where = path.relative_to(root)
    try:
        return ModelFile(where, loaded(path.read_text(encoding="utf-8")))
    except (YAMLError, UnicodeDecodeError) as error:
        return ModelFile(where, unreadable=str(error))


def _problems_of_file(root: Path, file: ModelFile, schema: Mapping[str, Any]) -> Iterator[str]:
    if file.unreadable:
        yield f"{file.path} is not valid YAML: {file.unreadable}."
        return
    if not isinstance(file.settings, dict):
        yield f"{file.path} holds no settings: it must be a mapping, as in docs/bring-your-own-table.md."
        return
    for key in refused_keys(file.settings, schema):
        yield f"{file.path}: there is no setting {key}. `training run --help` lists them."
    for sentence in refused_values(file.settings, schema):
        if sentence.partition(" ")[0] not in _REQUIRED:
            yield f"{file.path}: {sentence}."
    if missing := [key for key in _REQUIRED if not isinstance(file.settings.get(key), str)]:
        yield f"{file.path}: {listed(missing)} must be set, as text: docs/bring-your-own-table.md has one."
    elif not _reachable(root / file.path.parent, data := file.settings["data"]):
        yield (
            f"{file.path}: data: {data!r} is not next to this file, so the CronJob in the cluster would not "
            "find it: put it there, on a volume at /data, or name an address (s3://, https://, a database)."
        )


def _reachable(folder: Path, data: str) -> bool:
    """Whether the cluster can read a model's data: the training image contains only the model's folder."""
    return _ELSEWHERE.fullmatch(data) is not None or (folder / data).exists()
