"""The folders of models/: what keeps a file from being trained from, and what no service serves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gitops.documents import YAMLError, loaded
from gitops.fork.schemas import refused_keys
from gitops.platform.model import Platform
from gitops.platform.targets import listed

_FILES = "models/*/training.yaml"
# What training itself writes of its settings, for editors.
_SCHEMA = Path("training/training.schema.json")
_REQUIRED = ("name", "data")


def model_problems(root: Path) -> Iterator[str]:
    """What training would refuse: unreadable files, unknown keys, and two folders that register one model."""
    schema = _schema(root)
    folders: dict[str, list[str]] = {}
    for path in sorted(root.glob(_FILES)):
        where = path.relative_to(root)
        try:
            content = loaded(path.read_text(encoding="utf-8"))
        except (YAMLError, UnicodeDecodeError) as error:
            yield f"{where} is not valid YAML: {error}."
            continue
        if not isinstance(content, dict):
            yield f"{where} holds no settings: it must be a mapping, as docs/add-a-model.md shows it."
            continue
        for key in refused_keys(content, schema):
            yield f"{where}: there is no setting {key}. `training run --help` lists them."
        if missing := [key for key in _REQUIRED if not isinstance(content.get(key), str)]:
            yield f"{where}: {listed(missing)} must be there, as text: docs/add-a-model.md shows such a file."
        if isinstance(name := content.get("name"), str):
            folders.setdefault(name, []).append(str(where.parent))
    for name, several in folders.items():
        if len(several) > 1:
            yield f"{listed(several)} register the same model {name!r}: give each a name of its own."


def unserved(root: Path, platform: Platform) -> Iterator[str]:
    """Models that are trained and that no service serves."""
    served = {service.model for service in platform.services}
    for path in sorted(root.glob(_FILES)):
        folder = path.parent.name
        try:
            content = loaded(path.read_text(encoding="utf-8"))
        except (YAMLError, UnicodeDecodeError):
            continue
        name = content.get("name") if isinstance(content, dict) else None
        if name and name not in served:
            yield (
                f"models/{folder} trains {name}, which no service serves: "
                f"`gitops new service {folder} --model {name} --owner OWNER`."
            )


def _schema(root: Path) -> dict[str, Any]:
    path = root / _SCHEMA
    if not path.is_file():
        return {}
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema
