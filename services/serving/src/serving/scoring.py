"""Bodies of MLflow's scoring protocol (`POST /invocations`), as rows.

`dataframe_split`, `dataframe_records`, `instances` and `inputs` are accepted in every form in which MLflow's own server
accepts the rows of a table. Like MLflow, this ignores columns that the model does not know, and other fields of a body.
"""

import json
from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from serving.columns import Value
from serving.decoding import listed, shown_name
from serving.errors import MALFORMED, FieldError, InvalidInputError
from serving.features import Row, RowReader
from serving.malformed import why_malformed
from serving.runtimes.base import Matrix

Rows = list[Row]

_MOST_ERRORS = 10


class DataframeSplit(msgspec.Struct, frozen=True):
    """A table in the form of pandas' orient="split". Without `columns`, rows have the order of the model's columns."""

    data: list[list[Value]]
    columns: list[str | int] | None = None


# Rows, or single values for a model with one column; or a list for each column, or a value for a single row.
_Tensors = list[list[Value] | dict[str, Value] | Value] | dict[str, list[Value] | Value]


class InvocationRequest(msgspec.Struct, frozen=True):
    """Rows, in exactly one of four fields."""

    dataframe_split: DataframeSplit | UnsetType = UNSET
    dataframe_records: list[dict[str, Value]] | UnsetType = UNSET
    instances: _Tensors | UnsetType = UNSET
    inputs: _Tensors | UnsetType = UNSET


class InvocationResponse(msgspec.Struct, frozen=True):
    """A class or a number for each row, in the order of the rows."""

    predictions: list[bool | int | float | str]


_FIELDS = InvocationRequest.__struct_fields__
_decoder = msgspec.json.Decoder(InvocationRequest)


def parse(body: bytes) -> tuple[str, Any]:
    """Parse a body. Return the name of the field that has the rows, and its content.

    Raises:
        InvalidInputError: if it is not JSON, does not have exactly one of the four fields, or the field is not valid.
    """
    try:
        request = _decoded(body)
    except MALFORMED as error:
        raise _wrong("", f"the body is not an invocation: {why_malformed(error, body)}") from None
    given = [name for name in _FIELDS if getattr(request, name) is not UNSET]
    if len(given) != 1:
        found = " and ".join(given) if given else "none of them"
        raise _wrong("", f"expected an object with exactly one of {', '.join(_FIELDS)}, got {found}")
    return given[0], getattr(request, given[0])


def _decoded(body: bytes) -> InvocationRequest:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        if b"NaN" not in body:
            raise
        # MLflow's own client writes NaN for missing values, which is not valid JSON.
        try:
            found = json.loads(body, parse_constant=_constant)
        except ValueError:
            raise error from None
        try:
            msgspec.json.encode(found)
        except UnicodeEncodeError:
            # json accepts lone surrogates, which are not valid text for a model or the log.
            raise _wrong("", "the body is not an invocation: a text in it is not Unicode") from None
        return msgspec.convert(found, InvocationRequest)


def _constant(name: str) -> None:
    if name != "NaN":
        raise _wrong("", f"{name} is not a value that a model takes")


def rows_in(given: Any) -> int:
    """Return how many rows a body has. If its columns have different lengths, the longest counts."""
    if isinstance(given, DataframeSplit):
        return len(given.data)
    if isinstance(given, dict):
        return max((len(values) for values in given.values() if isinstance(values, list)), default=1)
    return len(given)


def read(reader: RowReader, field: str, given: Any) -> Matrix:
    """Read the rows of a body.

    Raises:
        InvalidInputError: naming what does not fit, by row and column.
    """
    if isinstance(given, DataframeSplit):
        return _table(reader, f"{field}.data", given)
    if isinstance(given, dict):
        return reader.many(_by_columns(given, field, reader), field)
    return reader.many([_row(row, f"{field}[{index}]", reader) for index, row in enumerate(given)], field)


def _row(row: Any, field: str, reader: RowReader) -> Row:
    if isinstance(row, dict):
        known = {name: value for name, value in row.items() if name in reader.names}
        _require_one(known, row, field, reader)
        return known
    return row if isinstance(row, list) else [row]


def _require_one(known: Collection[Any], given: Collection[str], field: str, reader: RowReader) -> None:
    """Refuse rows whose names are all unknown. If all columns are optional, each would get the answer to only nulls."""
    if given and not known:
        wanted = [column.name for column in reader.columns]
        raise _wrong(field, f"has none of the model's columns {listed(wanted)}; it has {listed(given)}")


def _table(reader: RowReader, field: str, given: DataframeSplit) -> Matrix:
    if given.columns is None:
        return reader.many(given.data, field)
    names = [str(name) for name in given.columns]
    times = Counter(names)
    if twice := next((name for name, count in times.items() if count > 1 and name in reader.names), ""):
        raise _wrong(field, f"column {shown_name(twice)} is there twice, so its values cannot be told apart")
    for index, row in enumerate(given.data):
        if len(row) != len(names):
            raise _wrong(f"{field}[{index}]", f"expected {len(names)} values ({listed(names)}), got {len(row)}")
    missing = [column.name for column in reader.columns if column.name not in times and not column.optional]
    if missing:
        raise InvalidInputError(
            *(FieldError(field, f"column {shown_name(name)} is missing") for name in missing[:_MOST_ERRORS])
        )
    known = [(name, index) for index, name in enumerate(names) if name in reader.names]
    _require_one(known, names, field, reader)
    return reader.many([{name: row[index] for name, index in known} for row in given.data], field)


def _by_columns(given: dict[str, Any], field: str, reader: RowReader) -> Rows:
    columns = {name: values for name, values in given.items() if name in reader.names}
    _require_one(columns, given, field, reader)
    if not any(isinstance(values, list) for values in columns.values()):
        return [columns]
    lengths = {len(values) if isinstance(values, list) else -1 for values in columns.values()}
    if len(lengths) > 1:
        raise _wrong(field, "its columns have different numbers of rows")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
