"""Compare values with the JSON schema of a chart or of training, one file at a time.

Helm merges all files before it checks them, so only `gitops render` finds what is missing, or what contradicts another
value. A file alone shows keys that the schema does not have, and values that no other file makes valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gitops.errors import BadInputError

if TYPE_CHECKING:
    from jsonschema import ValidationError

# Words and numbers of YAML 1.1, which Helm reads as such; here they are text.
_OF_HELM = re.compile(r"y|yes|n|no|on|off|[-+]?(0b[01_]+|[0-9][0-9.]*_[0-9_.]*)", re.IGNORECASE)
_KINDS: Mapping[str, str] = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
}
# What a value must be, by the keyword that it does not fulfil. Other keywords need the values of other files too.
_WANTED: Mapping[str, str] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "text of at least {} characters",
    "maxLength": "text of at most {} characters",
    "pattern": "text of the form {}",
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


@cache
def _validator() -> Any:
    """Return the class that validates, in which a pattern that only Helm understands refuses nothing."""
    # Only `check` needs it, and it loads slowly where libraries for its formats are installed.
    from jsonschema import Draft202012Validator, ValidationError  # noqa: PLC0415
    from jsonschema.validators import extend  # noqa: PLC0415

    def pattern(_: object, wanted: str, value: object, __: object) -> Iterator[ValidationError]:
        try:
            fits = not isinstance(value, str) or re.search(wanted, value) is not None
        except re.error:
            return
        if not fits:
            yield ValidationError(f"{value!r} does not match {wanted!r}")

    return extend(Draft202012Validator, {"pattern": pattern})


def refused_keys(values: object, schema: Mapping[str, Any]) -> list[str]:
    """Return the keys that a closed schema does not have, as paths such as `ingress.host`."""
    return [
        _path([*error.absolute_path, name])
        for error in _validator()(schema).iter_errors(values)
        if error.validator == "additionalProperties"
        for name in _unknown(error)
    ]


def refused_values(values: object, schema: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value of a wrong type, out of bounds, or of another form: its path, and what fits."""
    return list(_refused_values(values, schema))


def _refused_values(values: object, schema: Mapping[str, Any]) -> Iterator[str]:
    for error in _validator()(schema).iter_errors(_without_nulls(values)):
        path = list(error.absolute_path)
        if error.validator == "required":
            given: Any = values
            for part in path:
                given = given[part]
            for name in error.validator_value:
                if name in given and given[name] is None:
                    yield f"{_path([*path, name])} is empty, but needs a value: write one, or remove this line"
        elif wanted := _wanted(error):
            yield f"{_path(path)} is {_shown(error.instance)}, but must be {wanted}"


def _without_nulls(values: object) -> object:
    """Remove keys without a value, as Helm does: it also removes them from the chart's defaults."""
    if isinstance(values, dict):
        return {name: _without_nulls(value) for name, value in values.items() if value is not None}
    return [_without_nulls(each) for each in values] if isinstance(values, list) else values


def _unknown(error: ValidationError) -> Iterator[str]:
    known, patterns = error.schema.get("properties", {}), error.schema.get("patternProperties", {})
    for name in error.instance:
        if name not in known and not any(re.search(pattern, name) for pattern in patterns):
            yield name


def _wanted(error: ValidationError) -> str:
    """Return what the schema wants instead; empty if Helm accepts it, or if other values decide."""
    value, wanted = error.instance, error.validator_value
    if error.validator == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        read_by_helm = isinstance(value, str) and _OF_HELM.fullmatch(value)
        return "" if read_by_helm and {"boolean", "integer", "number"} & {*kinds} else _listed(kinds)
    if error.validator == "minLength" and wanted == 1:
        return "text that is not empty"
    if error.validator == "enum":
        return "one of " + ", ".join(str(each) for each in wanted)
    return _WANTED.get(str(error.validator), "").format(wanted)


def _listed(kinds: Iterable[str]) -> str:
    return " or ".join(_KINDS[kind] for kind in kinds)


def _path(parts: Iterable[object]) -> str:
    """Return a path such as `extraEnv[0].name`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _shown(value: object) -> str:
    kind = {dict: "a mapping", list: "a list", bool: str(value).lower()}.get(type(value))
    text = kind or repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
