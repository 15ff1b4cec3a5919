"""YAML as version 1.2 reads it: `on`, `no` and `=` are texts, `010` is ten, a date is a text.

PyYAML follows version 1.1, which cannot read real manifests: the definitions of the Prometheus operator contain a
bare `=`. Its C parser is kept, with the rules of https://yaml.org/spec/1.2.2/#103-core-schema.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml

YAMLError = yaml.YAMLError

# In C where there is one: ten times faster on Argo CD's two megabytes.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RULES = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    # Part of no schema, and understood by everything that reads manifests.
    ("tag:yaml.org,2002:merge", r"<<", "<"),
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
# As a value it is a text.
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda loader, node: loader.construct_scalar(node))


def loaded(text: str) -> Any:
    """What the one document of a text holds, as plain values; None where there is none.

    Raises:
        YAMLError: It is not valid YAML, or holds more than one document.
    """
    with _told():
        return yaml.load(text, _Loader)  # noqa: S506  a safe loader


def loaded_all(text: str) -> list[Any]:
    """What the documents of a stream hold.

    Raises:
        YAMLError: It is not valid YAML.
    """
    with _told():
        return list(yaml.load_all(text, _Loader))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Whatever the parser makes of a text, as one kind of error: not all that it raises is of its own kind."""
    try:
        yield
    except UnicodeError:
        raise YAMLError("it is not text in UTF-8") from None
    except (ValueError, AttributeError, TypeError) as error:
        # A value that its own tag does not fit, as in `!!int x`, or a number of thousands of digits.
        raise YAMLError(f"a value in it is not what its tag says ({error})") from None
    except RecursionError:
        raise YAMLError("its values are nested too deeply") from None
