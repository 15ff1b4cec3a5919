"""Add and remove entries of lists in platform.yaml by lines, so that the rest of the file does not change."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError

_NAME = str(Path("platform.yaml"))


def with_entry(text: str, section: str, entry: Mapping[str, Any], after: str = "") -> str:
    """Return platform.yaml with a new entry in a list.

    Args:
        text: The present content.
        section: The key of the list, such as `services`.
        entry: The new entry; its `name` identifies it.
        after: The name of the entry before it; the default is the last one.

    Raises:
        BadInputError: The content cannot be edited.
    """

    def grown(entries: list[Any]) -> list[Any]:
        place = _index(entries, after) + 1 if after else len(entries)
        return [*entries[:place], dict(entry), *entries[place:]]

    def lines(text: str, node: yaml.SequenceNode, entries: list[Any]) -> str:
        item = node.value[_index(entries, after) if after else -1]
        end = _line_end(text, _end(item))
        indent = " " * node.start_mark.column
        return f"{text[:end]}{_break(text, end)}{indent}- {flow(entry)}\n{text[end:]}"

    return _changed(text, section, grown, lines)


def without_entry(text: str, section: str, name: str) -> str:
    """Return platform.yaml without an entry of a list; comments around it stay.

    Raises:
        BadInputError: The content cannot be edited.
    """

    def shrunk(entries: list[Any]) -> list[Any]:
        return [entry for entry in entries if entry["name"] != name]

    def lines(text: str, node: yaml.SequenceNode, entries: list[Any]) -> str:
        item = node.value[_index(entries, name)]
        start = text.rfind("\n", 0, item.start_mark.index) + 1
        return text[:start] + text[_line_end(text, _end(item)) :]

    return _changed(text, section, shrunk, lines)


def flow(entry: Mapping[str, Any]) -> str:
    """Return a mapping as one line of YAML."""
    dumped: str = yaml.safe_dump(dict(entry), default_flow_style=True, sort_keys=False, width=10_000)
    return dumped.strip().replace("'", '"') if '"' not in dumped and "\\" not in dumped else dumped.strip()


def _changed(
    text: str,
    section: str,
    change: Callable[[list[Any]], list[Any]],
    in_lines: Callable[[str, yaml.SequenceNode, list[Any]], str],
) -> str:
    try:
        content = loaded(text)
        entries = list(content.get(section) or [])
        wanted = change(entries)
        node = _list(text, section)
        result = _written(text, section, node, entries, wanted, in_lines)
        held = loaded(result)
    except (YAMLError, AttributeError, LookupError, TypeError) as error:
        raise BadInputError(f"{_NAME} cannot be edited: {error}.") from None
    if held != {**content, section: wanted}:
        raise BadInputError(f"{_NAME}: {section} is written in a form that cannot be edited: edit it by hand.")
    return result


def _written(
    text: str,
    section: str,
    node: yaml.Node | None,
    entries: list[Any],
    wanted: list[Any],
    in_lines: Callable[[str, yaml.SequenceNode, list[Any]], str],
) -> str:
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and wanted and entries:
        return in_lines(text, node, entries)
    block = "".join(f"  - {flow(entry)}\n" for entry in wanted)
    if node is None:
        return f"{text}{_break(text, len(text))}{section}:{chr(10) + block if wanted else ' []' + chr(10)}"
    start = text.rindex(":", 0, node.start_mark.index) + 1
    end = _end(node) if entries else node.end_mark.index
    rest = text[end:].removeprefix("\n") if wanted else text[end:]
    return f"{text[:start]}\n{block}{rest}" if wanted else f"{text[:start]} []{rest}"


def _list(text: str, section: str) -> yaml.Node | None:
    document = yaml.compose(text, yaml.SafeLoader)
    for key, value in document.value if document else []:
        if key.value == section:
            found: yaml.Node = value
            return found
    return None


def _index(entries: list[Any], name: str) -> int:
    return next(number for number, entry in enumerate(entries) if entry["name"] == name)


def _end(node: yaml.Node) -> int:
    """Return the index of a node's end, without the blank lines and comments that parsers include."""
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False):
        return int(node.end_mark.index)
    inner = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
    return max((_end(part) for part in inner), default=int(node.start_mark.index))


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end + 1


def _break(text: str, place: int) -> str:
    return "" if not place or text[place - 1] == "\n" else "\n"
