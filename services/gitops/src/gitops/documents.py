"""YAML as version 1.2 defines it: `on`, `no` and `=` are strings, `010` is ten, a date is a string.

PyYAML follows version 1.1, which cannot read some real manifests: the definitions of the Prometheus operator contain a
bare `=`. This keeps PyYAML's fast C parser, with the rules of https://yaml.org/spec/1.2.2/#103-core-schema. Files that
people write may not repeat a key either: readers of YAML keep one of the two, so the other line would do nothing.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import yaml

YAMLError = yaml.YAMLError

# The C parser, if there is one: ten times faster on Argo CD's two megabytes.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_RULES = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    # Not part of any schema, but every program that reads manifests supports it.
    (_MERGE, r"<<", "<"),
)


class _Loader(_Parser):  # type: ignore[misc]  # the C parser has no types
    """The parser with the rules of version 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _form, _first in _RULES:
    for _letter in _first:
        _key = "" if _letter == "\0" else _letter
        _Loader.yaml_implicit_resolvers.setdefault(_key, []).append((_tag, re.compile(rf"^(?:{_form})$")))


def _integer(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
# A `<<` that is a value is a plain string.
_Loader.add_constructor(_MERGE, lambda loader, node: loader.construct_scalar(node))


def loaded(text: str) -> Any:
    """Return the content of a text with at most one document, as plain values; None if the text is empty.

    Raises:
        YAMLError: It is not valid YAML, repeats a key of a mapping, or holds more than one document.
    """
    with _one_error_type():
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            _refuse_repeated_keys(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()


def loaded_all(text: str) -> list[Any]:
    """Return the content of every document of a stream. It may repeat keys, as Helm and kubectl allow.

    Raises:
        YAMLError: It is not valid YAML.
    """
    with _one_error_type():
        return list(yaml.load_all(text, _Loader))


def _refuse_repeated_keys(top: Any) -> None:
    """Compare the keys of every mapping, before `<<` merges others into it, which its own may override."""
    seen: set[int] = set()
    left = [top]
    while left:
        node = left.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _refuse_repeated([key for key, _ in node.value])
            left += [value for _, value in node.value]
        else:
            left += node.value


def _refuse_repeated(keys: Sequence[Any]) -> None:
    first: dict[tuple[str, str], int] = {}
    for key in keys:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in first:
            problem = f"the key {key.value!r} occurs twice, first in line {first[name]}: keep one of them"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        first[name] = line


@contextlib.contextmanager
def _one_error_type() -> Iterator[None]:
    """Raise every error of the parser as a `YAMLError` in one line; PyYAML also lets errors of other types through."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = (error.problem or error.context or "").removeprefix("but ")
        raise YAMLError(f"{where}{problem}") from None
    except yaml.reader.ReaderError as error:
        raise YAMLError(f"position {error.position}: {error.reason}") from None
    except UnicodeError:
        raise YAMLError("it is not text in UTF-8") from None
    except (ValueError, AttributeError, TypeError) as error:
        # A value does not fit its tag, as in `!!int x`, or a number has thousands of digits.
        raise YAMLError(f"a value in it is not what its tag says ({error})") from None
    except RecursionError:
        raise YAMLError("its values are nested too deeply") from None
