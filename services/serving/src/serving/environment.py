"""Settings from environment variables: a Struct declares them once, for parsing, errors and help.

The encoded names of the Struct's fields are the names of the variables (`rename=str.upper`). The help of a field is its
`msgspec.Meta(description=...)`. An empty variable counts as absent, because charts and compose files set empty ones. A
variable for a tuple of Structs is a JSON list of objects, whose fields are handled like variables.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)


class SettingsError(Exception):
    """A variable has an invalid value. The message names the variable, and says which values it accepts."""


class Variable(msgspec.Struct, frozen=True):
    """An environment variable: its name, the values that it accepts, its default as text, and its purpose.

    If it accepts a list of objects, `items` is their Struct.
    """

    name: str
    takes: str
    default: str
    description: str
    choices: tuple[str, ...] = ()
    items: type[msgspec.Struct] | None = None


def variables(kind: type[msgspec.Struct]) -> tuple[Variable, ...]:
    """List the variables of a settings Struct, in the order of its fields."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)  # noqa: S101  (narrows the type: `kind` is a Struct)
    return tuple(_variable(field) for field in info.fields)


def read(kind: type[T], environ: Mapping[str, str], within: str = "") -> T:
    """Parse the variables of a settings Struct. Errors begin with `within`, such as `EXTRA_MODELS[0].`.

    Raises:
        SettingsError: if a value does not fit its variable, or values contradict each other.
    """
    given: dict[str, Any] = {}
    for variable in variables(kind):
        if text := environ.get(variable.name, "").strip():
            given[variable.name] = _value(kind, variable, text, within)
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{within}{error}") from None


def _value(kind: type[msgspec.Struct], variable: Variable, text: str, within: str) -> Any:
    """Check one variable alone, so that the error can name it."""
    if variable.items:
        return _objects(variable, variable.items, text)
    value = text.lower() if variable.choices else text
    field = next(f for f in msgspec.structs.fields(kind) if f.encode_name == variable.name)
    try:
        msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(f"{within}{variable.name} is {value!r}, but takes {variable.takes}") from None
    return value


def _objects(variable: Variable, kind: type[msgspec.Struct], text: str) -> tuple[msgspec.Struct, ...]:
    try:
        objects = msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SettingsError(f"{variable.name} takes {variable.takes}, but is not one ({error})") from None
    return tuple(_object(kind, found, f"{variable.name}[{index}].") for index, found in enumerate(objects))


def _object(kind: type[T], found: dict[str, Any], within: str) -> T:
    known = {variable.name for variable in variables(kind)}
    for name, value in found.items():
        if name not in known:
            raise SettingsError(f"{within}{name} is unknown; known ones are {_names(kind)}")
        if not isinstance(value, str):
            raise SettingsError(f"{within}{name} is {value!r}, but must be text: put it in quotes")
    return read(kind, found, within)


def _variable(field: inspect.Field) -> Variable:
    kind = field.type
    description = ""
    if isinstance(kind, inspect.Metadata):
        description = (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    choices = tuple(str(value) for value in kind.values) if isinstance(kind, inspect.LiteralType) else ()
    takes, items = _takes(kind), None
    if isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.StructType):
        takes, items = f"a JSON list of objects of {_names(kind.item_type.cls)}", kind.item_type.cls
    return Variable(field.encode_name, takes, _default(field.default), description, choices, items)


def _names(kind: type[msgspec.Struct]) -> str:
    return ", ".join(variable.name for variable in variables(kind))


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value == () else str(value)


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
        case inspect.StrType():
            matching = f" that matches {kind.pattern}" if kind.pattern else ""
            return f"text{matching}{_length(kind.min_length, kind.max_length)}"
        case _:
            return "text"


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return ""


def _length(low: int | None, high: int | None) -> str:
    if high is None:
        return ""
    if low == high:
        return f" of {high} character{'' if high == 1 else 's'}"
    return f" of at most {high} characters"
