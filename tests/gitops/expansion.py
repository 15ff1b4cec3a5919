"""What an ApplicationSet makes of the files that its git generator finds.

The controller alone expands ApplicationSets for real. This does the same for what is used here: one git generator over
files, and templates that name values, such as `{{ .path.basename }}`, where a value that is not there is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.manifests import Manifest

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELD = re.compile(r"(\.[A-Za-z_]\w*)+")


def expand(application_set: Manifest, tree: Path) -> Iterator[Manifest]:
    """Yield the Applications, in the order of the files; ValueError for what the files or this cannot fill in."""
    spec = application_set["spec"]
    if not spec.get("goTemplate") or spec.get("goTemplateOptions") != ["missingkey=error"]:
        raise ValueError("an ApplicationSet must use goTemplate with missingkey=error")
    for generator in spec["generators"]:
        for path in _files(generator["git"]["files"], tree):
            values = {**yaml.safe_load(path.read_text(encoding="utf-8")), "path": _path_values(path.relative_to(tree))}
            template = _filled(spec["template"], values)
            metadata = {"namespace": application_set["metadata"]["namespace"], **template["metadata"]}
            yield {
                "apiVersion": application_set["apiVersion"],
                "kind": "Application",
                "metadata": metadata,
                "spec": template["spec"],
            }


def _files(patterns: list[dict[str, Any]], tree: Path) -> list[Path]:
    taken = {path for pattern in patterns if not pattern.get("exclude") for path in tree.glob(pattern["path"])}
    left = {path for pattern in patterns if pattern.get("exclude") for path in tree.glob(pattern["path"])}
    return sorted(taken - left)


def _path_values(path: Path) -> dict[str, Any]:
    folder = path.parent
    return {
        "path": str(folder),
        "basename": folder.name,
        "basenameNormalized": re.sub(r"[^a-z0-9.-]", "-", folder.name.lower()),
        "filename": path.name,
        "segments": list(folder.parts),
    }


def _filled(template: Any, values: dict[str, Any]) -> Any:
    if isinstance(template, dict):
        return {_filled(key, values): _filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(item, values) for item in template]
    if isinstance(template, str):
        return _ACTION.sub(lambda match: _looked_up(match.group(1), values), template)
    return template


def _looked_up(action: str, values: dict[str, Any]) -> str:
    if not _FIELD.fullmatch(action):
        raise ValueError(f"the template {{{{ {action} }}}} is more than the name of a value")
    found: Any = values
    for key in action.split(".")[1:]:
        if not isinstance(found, dict) or key not in found:
            raise ValueError(f"the template names {action}, and {values['path']['path']} has no {key}")
        found = found[key]
    return str(found)
