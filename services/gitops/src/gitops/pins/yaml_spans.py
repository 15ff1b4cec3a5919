"""Edits of YAML in place: a value's own characters are replaced, and no other byte of the text moves."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

# Strings that every reader of YAML, old rules or new, takes for strings without quotes.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./:@_-]*[A-Za-z0-9]|[0-9]+\.[0-9]+\.[0-9]+")
NOT_STRINGS = frozenset({"true", "false", "yes", "no", "on", "off", "null"})
_WORDS = {"None": "null", "True": "true", "False": "false"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def replaced(text: str, before: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return a mapping's text with other values where a value can be replaced as it stands; other changes are left out.

    Args:
        text: The content so far.
        before: What it holds.
        values: What its keys are to hold.

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
    """Return a mapping's text without the lines of one of its own keys, and with every other byte as it was.

    Comments between those lines go too. The text does not change if the key shares a line with others.

    Args:
        text: The content so far.
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
    """Where a node's last character is; a block counts what comes behind it as its own."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def float_text(value: float) -> str:
    """A float that readers by YAML 1.1, which ask for a dot, take for one too."""
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
    """Whether a node's own characters are all of it."""
    written = text[node.start_mark.index : node.end_mark.index]
    if isinstance(node, yaml.ScalarNode):
        return (
            bool(written)
            and node.style in (None, "'", '"')
            and "\n" not in written
            and not written.startswith(("&", "!"))
        )
    # A comment inside would be lost, and a block has no end of its own.
    flow = isinstance(node, yaml.MappingNode) and node.flow_style and "#" not in written and written.startswith("{")
    return bool(flow)


def _style(node: yaml.Node) -> str | None:
    return node.style if isinstance(node, yaml.ScalarNode) else None


def _written(value: Any, style: str | None = None, *, quoted: bool = False) -> str:
    """A value on one line, which is right in a block and in braces alike."""
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
