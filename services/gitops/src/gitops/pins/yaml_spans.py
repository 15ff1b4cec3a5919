"""Edit YAML in place: only the characters of a value are replaced, no other byte changes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

# Strings that need no quotes in YAML 1.1 or 1.2.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./:@_-]*[A-Za-z0-9]|[0-9]+\.[0-9]+\.[0-9]+")
NOT_STRINGS = frozenset({"true", "false", "yes", "no", "on", "off", "null"})
_WORDS = {"None": "null", "True": "true", "False": "false"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def replaced(text: str, before: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return a mapping's text with those values replaced that can be replaced in place; other changes are left out.

    Args:
        text: The present content.
        before: Its values.
        values: New values by key.

    Raises:
        yaml.YAMLError: It is not valid YAML.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return text
    for start, end, new in sorted(_spans(text, root, before, values), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def without_key(text: str, name: str) -> str:
    """Return a mapping's text without the lines of one of its own keys; no other byte changes.

    Comments between those lines go too. The text does not change if the key shares a line with others.

    Args:
        text: The present content.
        name: The key.

    Raises:
        yaml.YAMLError: It is not valid YAML.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        return text
    found = [(key, value) for key, value in root.value if key.value == name]
    if len(found) != 1:
        return text
    key, value = found[0]
    start, end = text.rfind("\n", 0, key.start_mark.index) + 1, _end(value)
    if text[start : key.start_mark.index].strip():
        return text
    if not text[:end].endswith("\n"):
        end = text.find("\n", end) + 1 or len(text)
    return text[:start] + text[end:]


def _end(node: yaml.Node) -> int:
    """Return the index of a node's end; parsers count the lines after a block as part of it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def float_text(value: float) -> str:
    """Return a float as text, with the dot that parsers of YAML 1.1 need."""
    text = repr(value)
    return text if "." in text or "n" in text else text.replace("e", ".0e")


def _spans(
    text: str, node: yaml.MappingNode, before: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[tuple[int, int, str]]:
    names = [key.value for key, _ in node.value]
    nodes = {key.value: value for key, value in node.value}
    for name, value in values.items():
        if names.count(name) != 1 or name not in before or before[name] == value:
            continue
        there, had = nodes[name], before[name]
        mappings = isinstance(value, dict) and isinstance(had, dict)
        if mappings and isinstance(there, yaml.MappingNode) and (had.keys() == value.keys() or not there.flow_style):
            yield from _spans(text, there, had, value)
            continue
        start, end = there.start_mark.index, there.end_mark.index
        if _in_place(text, there):
            yield start, end, _written(value, _style(there), quoted=name == "version")


def _in_place(text: str, node: yaml.Node) -> bool:
    """Whether a node consists only of its own characters, so that these can be replaced."""
    written = text[node.start_mark.index : node.end_mark.index]
    if isinstance(node, yaml.ScalarNode):
        return (
            bool(written)
            and node.style in (None, "'", '"')
            and "\n" not in written
            and not written.startswith(("&", "!"))
        )
    # Comments inside would be lost, and a block has no end of its own.
    flow = isinstance(node, yaml.MappingNode) and node.flow_style and "#" not in written and written.startswith("{")
    return bool(flow)


def _style(node: yaml.Node) -> str | None:
    return node.style if isinstance(node, yaml.ScalarNode) else None


def _written(value: Any, style: str | None = None, *, quoted: bool = False) -> str:
    """Return a value on one line, which is valid in a block and in braces."""
    if value is None or isinstance(value, bool | int):
        return _WORDS.get(str(value), str(value))
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, dict):
        inner = ", ".join(
            f"{_written(str(key))}: {_written(entry, quoted=key == 'version')}" for key, entry in value.items()
        )
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(_written(entry) for entry in value)}]"
    return _text(str(value), style, quoted=quoted)


def _text(value: str, style: str | None, *, quoted: bool) -> str:
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if not quoted and style is None and PLAIN.fullmatch(value) and value.lower() not in NOT_STRINGS:
        return value
    return (
        '"' + "".join(_ESCAPES.get(sign, sign if sign.isprintable() else f"\\U{ord(sign):08x}") for sign in value) + '"'
    )
