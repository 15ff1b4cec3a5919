"""Settings from environment variables: a Struct declares them once, and parsing, errors and help follow from it.

The Struct's encoded field names are the variables' names (`rename=str.upper`), and `msgspec.Meta(description=...)` on a
field is its help. A variable that is empty counts as absent, since charts and compose files set empty ones.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)


class SettingsError(Exception):
    """A variable has a value that it cannot have; the message names it and says what it takes."""


class Variable(msgspec.Struct, frozen=True):
    """An environment variable: its name, what it takes, its default (as text) and what it is for."""

    name: str
    takes: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


def variables(kind: type[msgspec.Struct]) -> tuple[Variable, ...]:
    """Lists the variables that a settings Struct declares, in its order."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)  # noqa: S101  (narrows the type: `kind` is a Struct)
    return tuple(_variable(field) for field in info.fields)


def read(kind: type[T], environ: Mapping[str, str]) -> T:
    """Parses the variables of a settings Struct.

    Raises:
        SettingsError: when a value does not fit its variable, or values contradict each other.
    """
    declared = variables(kind)
    given = {v.name: _normalised(v, environ[v.name].strip()) for v in declared if environ.get(v.name, "").strip()}
    for variable in declared:
        if variable.name in given:
            _check(kind, variable, given[variable.name])
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from None


def _normalised(variable: Variable, value: str) -> str:
    return value.lower() if variable.choices else value


def _check(kind: type[msgspec.Struct], variable: Variable, value: str) -> None:
    """Tries one variable by itself, so that the error can name it."""
    field = next(f for f in msgspec.structs.fields(kind) if f.encode_name == variable.name)
    try:
        msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(f"{variable.name} is {value!r}, but takes {variable.takes}") from None


def _variable(field: inspect.Field) -> Variable:
    kind = field.type
    description = ""
    if isinstance(kind, inspect.Metadata):
        description = (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    choices = tuple(str(value) for value in kind.values) if isinstance(kind, inspect.LiteralType) else ()
    default = field.default
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return Variable(field.encode_name, _takes(kind), text, description, choices)


def _takes(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in kind.values)
        case inspect.IntType():
            return "a whole number" + _range(kind.ge, kind.le)
        case inspect.FloatType():
            return "a number" + _range(kind.ge, kind.le)
        case inspect.StrType(pattern=str() as pattern):
            return f"text that matches {pattern}"
        case _:
            return "text"


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return ""
