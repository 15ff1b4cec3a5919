"""The rows of a model as JSON Schema."""

from typing import Any

from serving.columns import EARLIEST, LATEST, Value
from serving.decoding import BooleanDecoder, CategoryDecoder, Decoder, NumberDecoder
from serving.features import RowReader
from serving.loader import LoadedModel

# The most categories that are listed.
_CATEGORIES_TOLD = 100


def rows(reader: RowReader) -> list[dict[str, Any]]:
    """Describe the two forms of a row: an array, and an object with the columns' names."""
    items = [_value(decoder) for decoder in reader.decoders]
    array = {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}
    names = [column.name for column in reader.columns]
    if len(set(names)) < len(names):
        return [array]
    required = [column.name for column in reader.columns if not column.optional]
    by_name = {
        "type": "object",
        "properties": dict(zip(names, items, strict=True)),
        "required": required,
        "additionalProperties": False,
    }
    return [array, by_name]


def example_row(model: LoadedModel) -> list[Value] | dict[str, Value]:
    """Return a valid row: an array if it has only numbers, otherwise an object with names."""
    columns = model.spec.columns
    names = [column.name for column in columns]
    if len(set(names)) < len(names) or all(column.kind == "number" for column in columns):
        return list(model.example)
    return dict(zip(names, model.example, strict=True))


def _value(decoder: Decoder) -> dict[str, Any]:
    column = decoder.column
    value = {"title": column.name, "x-kind": column.kind, **_of_kind(decoder)}
    if not column.optional:
        return value
    if "anyOf" in value:
        return value | {"anyOf": [*value["anyOf"], {"type": "null"}]}
    more = {"enum": [*value["enum"], "", None]} if "enum" in value else {}
    return value | {"type": [value["type"], "null"]} | more


def _of_kind(decoder: Decoder) -> dict[str, Any]:
    match decoder:
        case BooleanDecoder():
            return {"type": "boolean"}
        case NumberDecoder():
            return {"type": decoder.column.kind, "minimum": decoder.low, "maximum": decoder.high}
        case CategoryDecoder():
            return _text(decoder)
    seconds = {"type": "number", "minimum": EARLIEST, "maximum": LATEST}
    return {"anyOf": [{"type": "string", "format": "date-time"}, seconds], "description": decoder.expected}


def _text(decoder: CategoryDecoder) -> dict[str, Any]:
    column = decoder.column
    if column.unknown == "refuse":
        return {"type": "string", "enum": list(column.categories)}
    known = {"examples": list(column.categories[:_CATEGORIES_TOLD])} if column.categories else {}
    return {"type": "string", **({} if column.optional else {"minLength": 1}), **known}
