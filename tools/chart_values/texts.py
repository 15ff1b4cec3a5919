"""The generated files in memory, and their two forms: a marked block of YAML, and readable JSON."""

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_WIDTH = 120


class Texts:
    """Files by path, with their present and their new content."""

    def __init__(self, charts: Path) -> None:
        """Take the folder with the charts."""
        self.charts = charts
        self._there: dict[Path, str] = {}
        self.wanted: dict[Path, str] = {}

    def __getitem__(self, path: Path) -> str:
        if path not in self._there:
            self._there[path] = path.read_text(encoding="utf-8") if path.exists() else ""
        return self.wanted.get(path, self._there[path])

    def __setitem__(self, path: Path, text: str) -> None:
        self.wanted[path] = text


def replace_block(text: str, name: str, source: str, block: str) -> str:
    """Replace the block between the two lines with its name.

    Raises:
        ValueError: The lines do not exist.
    """
    marks = re.compile(rf"(?ms)^(# >>> {name}\b)[^\n]*\n.*?^(# <<< {name})$")
    written, found = marks.subn(lambda mark: f"{mark[1]}, written from {source}\n\n{block}\n{mark[2]}", text)
    if found != 1:
        raise ValueError(f"one block must be marked by `# >>> {name}` and `# <<< {name}`, and {found} are")
    return written


def value(name: str, comment: str, default: Any, indent: int = 0) -> str:
    """Return an entry of values.yaml, with the comment that helm-docs reads."""
    pad = " " * indent
    lines = textwrap.wrap(f"-- {comment}", width=_WIDTH - 4 - indent, break_on_hyphens=False)
    return "".join(f"{pad}# {line}\n" for line in lines) + textwrap.indent(_entry(name, default), pad)


def _entry(name: str, default: Any) -> str:
    """Return a value as YAML with one line for each outermost entry."""
    if isinstance(default, dict) and default:
        return f"{name}:\n" + textwrap.indent("".join(_entry(key, item) for key, item in default.items()), "  ")
    if default == "":
        return f'{name}: ""\n'
    flow = yaml.safe_dump(default, sort_keys=False, default_flow_style=True, width=_WIDTH).removesuffix("...\n")
    return f"{name}: {flow}"


def as_json(value: Any, indent: int = 0, taken: int = 0) -> str:
    """Return JSON in which short values are on one line; `taken` is the width of the text before the value."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or (indent and indent + taken + len(flat) < _WIDTH):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, Mapping):
        keys = {key: f"{json.dumps(key, ensure_ascii=False)}: " for key in value}
        inner = [f"{pad}{keys[key]}{as_json(item, indent + 2, len(keys[key]))}" for key, item in value.items()]
        opening, closing = "{", "}"
    else:
        inner = [f"{pad}{as_json(item, indent + 2)}" for item in value]
        opening, closing = "[", "]"
    return opening + "\n" + ",\n".join(inner) + "\n" + " " * indent + closing
