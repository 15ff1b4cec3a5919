"""Compare values with the JSON schema of a chart or of training, one file at a time.

Helm merges all files before it checks them, so only `gitops render` finds what is missing, or what contradicts another
value. A file alone shows keys that the schema does not have, and values that no other file makes valid.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gitops.errors import BadInputError

# Words and numbers of YAML 1.1, which Helm reads as such; here they are text.
_OF_HELM = re.compile(r"y|yes|n|no|on|off|[-+]?(0b[01_]+|[0-9][0-9.]*_[0-9_.]*)", re.IGNORECASE)
_KINDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "object": ("a mapping", (dict,)),
    "array": ("a list", (list,)),
    "string": ("text", (str,)),
    "boolean": ("true or false", (bool,)),
    "integer": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "null": ("null", (type(None),)),
}
_BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("more than", lambda value, bound: value > bound),
    "exclusiveMaximum": ("less than", lambda value, bound: value < bound),
}
_LONGEST = 60


def read_schema(root: Path, name: Path) -> dict[str, Any]:
    """Return a schema; an empty one, which accepts everything, if the file does not exist.

    Args:
        root: The repository.
        name: The file, below it.

    Raises:
        BadInputError: It cannot be read as JSON.
    """
    try:
        found = msgspec.json.decode((root / name).read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInputError(
            f"{name} is not valid JSON: {error}: restore it with `git checkout HEAD -- {name}`."
        ) from None
    return found


def refused_keys(values: object, schema: Mapping[str, Any]) -> list[str]:
    """Return the keys that a closed schema does not have, as paths such as `ingress.host`."""
    return list(_refused_keys(values, schema, schema, ""))


def refused_values(values: object, schema: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value of a wrong type, out of bounds, or of another form: its path, and what fits."""
    return list(_refused_values(values, schema, schema, ""))


def _refused_keys(values: object, schema: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Iterator[str]:
    schema = _resolved(schema, whole)
    if isinstance(values, list):
        for number, entry in enumerate(values):
            if isinstance(schema.get("items"), dict):
                yield from _refused_keys(entry, schema["items"], whole, f"{path}[{number}]")
        return
    # Alternatives need a check of the values too, which Helm does.
    if not isinstance(values, dict) or any(word in schema for word in ("anyOf", "oneOf", "allOf", "patternProperties")):
        return
    for name, value in values.items():
        where = _below(path, name)
        inner = _inner(name, schema)
        if inner is not None:
            yield from _refused_keys(value, inner, whole, where)
        elif name not in schema.get("properties", {}) and schema.get("additionalProperties", True) is False:
            yield where


def _refused_values(values: object, schema: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Iterator[str]:
    schema = _resolved(schema, whole)
    if wanted := _wanted(values, schema):
        yield f"{path} is {_shown(values)}, but must be {wanted}"
        return
    if isinstance(values, list) and isinstance(schema.get("items"), dict):
        for number, entry in enumerate(values):
            yield from _refused_values(entry, schema["items"], whole, f"{path}[{number}]")
    if not isinstance(values, dict):
        return
    for name, value in values.items():
        where, inner = _below(path, name), _inner(name, schema)
        if value is None:
            # Helm removes such a key, also from the chart's defaults.
            if name in schema.get("required", ()):
                yield f"{where} is empty, but needs a value: write one, or remove this line"
        elif inner is not None:
            yield from _refused_values(value, inner, whole, where)


def _wanted(value: object, schema: Mapping[str, Any]) -> str:
    """Return what a schema wants instead of a value; empty if it accepts it. Other schemas check what is inside."""
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, kind) for kind in types):
        left = isinstance(value, str) and _OF_HELM.fullmatch(value) and {"boolean", "integer", "number"} & {*types}
        return "" if left else " or ".join(_KINDS[kind][0] for kind in types)
    if "enum" in schema and value not in schema["enum"]:
        return "one of " + ", ".join(str(each) for each in schema["enum"])
    if isinstance(value, str):
        return _wanted_text(value, schema)
    if isinstance(value, int | float) and not isinstance(value, bool):
        missed = [f"{words} {schema[key]}" for key, (words, holds) in _BOUNDS.items() if not _holds(value, key, schema)]
        return " and ".join(missed)
    return ""


def _wanted_text(value: str, schema: Mapping[str, Any]) -> str:
    if len(value) < schema.get("minLength", 0):
        return "text that is not empty" if not value else f"at least {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", len(value)):
        return f"at most {schema['maxLength']} characters"
    return f"of the form {schema['pattern']}" if "pattern" in schema and not _matches(value, schema["pattern"]) else ""


def _matches(value: str, pattern: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        # Helm's patterns have another syntax in rare cases.
        return True


def _holds(value: float, key: str, schema: Mapping[str, Any]) -> bool:
    return key not in schema or _BOUNDS[key][1](value, schema[key])


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    return whole or isinstance(value, _KINDS[kind][1])


def _inner(name: object, schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of a key; None if there is none."""
    rest = schema.get("additionalProperties")
    known = schema.get("properties", {}).get(name)
    found = rest if known is None and "patternProperties" not in schema else known
    return found if isinstance(found, dict) else None


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _shown(value: object) -> str:
    kind = {dict: "a mapping", list: "a list", bool: str(value).lower(), type(None): "empty"}.get(type(value))
    text = kind or repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    while isinstance(reference := schema.get("$ref"), str) and reference.startswith("#/"):
        found: Any = whole
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        schema = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema
