"""Make skops files of equal models equal, byte for byte.

skops names arrays after memory addresses, and its zip contains the time of day. Neither says anything about the model,
and both differ with every run.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SCHEMA = "schema.json"


def normalise_skops(path: Path) -> None:
    """Rewrite a skops file in place: number its objects in the order of the schema, and remove times."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    schema = _renumbered(json.loads(members.pop(_SCHEMA)), numbers, names)
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_STORED) as archive:
        for old, new in names.items():
            archive.writestr(zipfile.ZipInfo(new, _EPOCH), members[old])
        archive.writestr(zipfile.ZipInfo(_SCHEMA, _EPOCH), json.dumps(schema, indent=2))


def _renumbered(node: Any, numbers: dict[int, int], names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renumbered(item, numbers, names) for item in node]
    if not isinstance(node, dict):
        return node
    renumbered = {key: _renumbered(value, numbers, names) for key, value in node.items()}
    if isinstance(node.get("__id__"), int):
        renumbered["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
    if "__loader__" in node and isinstance(node.get("file"), str):
        suffix = Path(node["file"]).suffix
        renumbered["file"] = names.setdefault(node["file"], f"{len(names)}{suffix}")
    return renumbered
