"""Edit YAML files that people comment: only values change, the rest stays as it was written."""

import io
import re
from collections.abc import Collection, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import RoundTripConstructor, SafeConstructor
from ruamel.yaml.error import CommentMark
from ruamel.yaml.error import YAMLError as EditingError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.pins.yaml_lines import line_ending, spliced
from gitops.pins.yaml_spans import NOT_STRINGS, PLAIN, float_text, replaced, without_key

_INDENTED_LIST = re.compile(r"^( *)[^\s#-][^\n]*:[^\S\n]*(?:#[^\n]*)?\n\1( +)- ", re.MULTILINE)
_START = re.compile(r"\A(#[^\n]*\n|[ \t]*\n)*---")
# The end of a document, which ruamel.yaml drops.
_END = re.compile(r"^\.\.\.[ \t]*(#[^\n]*)?\n?\Z", re.MULTILINE)


def edited(text: str, values: Mapping[str, Any], name: str, without: Collection[str] = ()) -> str:
    """Return a YAML mapping's text with other values. Everything else keeps its form, and every comment stays.

    Args:
        text: The present content; it may be empty.
        values: New values by key; other keys of the text do not change. If a value is a mapping, it replaces the whole
            mapping.
        name: The name of the text, for an error.
        without: Keys to remove; a key that shares its line with other content becomes null.

    Raises:
        BadInputError: The present content is not a mapping, or uses YAML that cannot be edited, such as anchors.
    """
    try:
        before = loaded(text) or {}
        if gone := [key for key in without if before.get(key) is not None]:
            for key in gone:
                text = without_key(text, key)
            left = loaded(text) or {}
            values = {**values, **dict.fromkeys(key for key in gone if key in left)}
            before = {key: value for key, value in before.items() if key not in gone or key in left}
        wanted = {**before, **values}
        # Replacing values in place is enough for most edits; others add, remove or reshape keys.
        result = replaced(text, before, values)
        if loaded(result) != wanted:
            result = _reshaped(result, values)
        held = loaded(result)
    except (YAMLError, EditingError, TypeError, AttributeError) as error:
        raise BadInputError(f"{name} cannot be edited: {error}.") from None
    if held != wanted:
        raise BadInputError(f"{name} uses YAML that this command cannot edit (anchors?): edit it by hand.")
    return result


def _reshaped(text: str, values: Mapping[str, Any]) -> str:
    """Return the text with other keys; lines with the same meaning keep every byte."""
    ended = _END.search(text.replace("\r\n", "\n"))
    lines = text.splitlines(keepends=True)
    if ended and lines:
        tail, lines = lines[-1], lines[:-1]
    else:
        tail = ""
    plain = "".join(line_ending(line)[0] + ("\n" if line_ending(line)[1] else "") for line in lines)
    editor = _editor(plain)
    baseline, document = _dumped(editor, editor.load(plain)), editor.load(plain)
    if document is None:
        document = CommentedMap()
    _merge(document, values)
    return spliced(lines, baseline, _dumped(_editor(plain), document)) + tail


def _dumped(editor: YAML, document: Any) -> str:
    stream = io.StringIO()
    if document is not None:
        editor.dump(document, stream)
    return stream.getvalue()


class _Constructor(RoundTripConstructor):
    """Reads floats as plain floats: those of ruamel.yaml keep their form, but lose digits."""


class _Representer(RoundTripRepresenter):
    """Writes floats with a dot, which parsers of YAML 1.1 need, and None as `null`."""


def _represent_float(representer: RoundTripRepresenter, value: float) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:float", float_text(value))


def _represent_none(representer: RoundTripRepresenter, _value: None) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


_Constructor.add_constructor("tag:yaml.org,2002:float", SafeConstructor.construct_yaml_float)
_Representer.add_representer(float, _represent_float)
_Representer.add_representer(type(None), _represent_none)


def _editor(text: str) -> YAML:
    """Return an editor that keeps the text's indentation (also of lists), quotes and long lines."""
    editor = YAML()
    editor.Constructor = _Constructor
    editor.Representer = _Representer
    editor.preserve_quotes = True
    editor.width = 4096
    editor.explicit_start = bool(_START.search(text))
    editor.brace_single_entry_mapping_in_flow_sequence = True
    if indented := re.search(r"^( +)[^ #\n]", text, re.MULTILINE):
        editor.map_indent = len(indented[1])
    if listed := _INDENTED_LIST.search(text):
        editor.sequence_dash_offset = len(listed[2])
        editor.sequence_indent = len(listed[2]) + 2
    return editor


def _merge(node: CommentedMap, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        present = node.get(name)
        if name in node and present == value:
            continue
        if isinstance(present, CommentedMap) and isinstance(value, dict) and _mergeable(present, value):
            _merge(present, value)
        else:
            _replace(node, name, value)


def _mergeable(present: CommentedMap, value: dict[str, Any]) -> bool:
    # Removing a key would remove the comments after it.
    return present.keys() <= value.keys() and bool(present)


def _replace(node: CommentedMap, name: str, value: Any) -> None:
    kept = _comments(node.get(name))
    quoted = name == "version" or isinstance(node.get(name), DoubleQuotedScalarString)
    node[name] = _node(value, quoted=quoted)
    if kept:
        _append_comment(node, name, kept)


def _node(value: Any, *, quoted: bool = False) -> Any:
    if isinstance(value, dict):
        inner = CommentedMap({key: _node(entry, quoted=key == "version") for key, entry in value.items()})
        # Mappings are written as blocks, but metrics, which have only numbers, on one line.
        if all(isinstance(entry, float) for entry in value.values()):
            inner.fa.set_flow_style()
        return inner
    if isinstance(value, str) and (quoted or not PLAIN.fullmatch(value) or value.lower() in NOT_STRINGS):
        return DoubleQuotedScalarString(value)
    return value


def _comments(value: Any) -> str:
    """Return the comments inside a mapping, and those after it, which ruamel.yaml attaches to its last key."""
    if not isinstance(value, CommentedMap):
        return ""
    text = "".join(token.value for token in (value.ca.comment or [None, None])[1] or [])
    for key in value:
        for token in value.ca.items.get(key, []):
            for one in token if isinstance(token, list) else [token]:
                text += one.value if one else ""
        text += _comments(value[key])
    return text


def _append_comment(node: CommentedMap, name: str, text: str) -> None:
    tokens = node.ca.items.setdefault(name, [None, None, None, None])
    before = tokens[2].value if tokens[2] else ""
    tokens[2] = CommentToken(before + text, CommentMark(0), None)
