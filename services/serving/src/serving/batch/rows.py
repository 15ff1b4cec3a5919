"""Checks the rows of a table against a model's columns: returns a matrix of those that fit, and why others do not.

A table is read by the same code that reads tables for the API, as the bytes of an Arrow stream. Rows are checked one by
one only if that code refuses the table.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving import arrow
from serving.decoding import CategoryDecoder, DatetimeDecoder, Decoder, MismatchError, listed, shown_name
from serving.errors import FieldError, InvalidInputError
from serving.features import RowReader
from serving.openinference.rows import numbers_fit, read_columns
from serving.runtimes.base import Matrix

Array = np.ndarray[Any, Any]
_MOST_ERRORS = 10


def read_rows(batch: pa.RecordBatch, reader: RowReader) -> tuple[Matrix, dict[int, str]]:
    """Read the rows of a table. Columns that the model does not know are ignored.

    Returns:
        The rows that fit, shape [rows that fit, columns], and for each other row, by its index, the reason.

    Raises:
        InvalidInputError: if a column is missing, appears twice, or has a type that the model does not accept, or if
            none is a column of the model.
    """
    _check_names(batch.schema.names, reader)
    body = _stream(batch.select([at for at, name in enumerate(batch.schema.names) if name in reader.names]))
    try:
        return arrow.read(body, reader, batch.num_rows), {}
    except InvalidInputError:
        return _some(arrow.values(body, reader), reader)


def absent(names: Collection[str], reader: RowReader) -> list[str]:
    """Return the model's columns that a table with these names does not have."""
    return [column.name for column in reader.columns if column.name not in names]


def _check_names(names: Collection[str], reader: RowReader) -> None:
    """Refuse a table without a required column, or with none at all: each row would get the answer to only nulls."""
    missing = absent(names, reader)
    required = [column.name for column in reader.columns if column.name in missing and not column.optional]
    told = [FieldError(f"columns[{shown_name(name)}]", "the column is missing") for name in required[:_MOST_ERRORS]]
    if len(missing) == len(reader.columns) and not told:
        told = [FieldError("", f"it has none of the model's columns {listed(missing)}")]
    if told:
        raise InvalidInputError(*told, FieldError("", f"its columns are {listed(names)}"))


def _stream(batch: pa.RecordBatch) -> bytes:
    for at, field in enumerate(batch.schema):
        if pa.types.is_decimal(field.type):
            batch = batch.set_column(at, field.name, batch.column(at).cast(pa.float64(), safe=False))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _some(values: list[Array], reader: RowReader) -> tuple[Matrix, dict[int, str]]:
    fits = np.ones(len(values[0]), dtype=bool)
    for decoder, column in zip(reader.decoders, values, strict=True):
        _check_type(decoder, column)
        fits &= _fits(decoder, column)
    wrong = {int(row): _reason(reader, [column[row] for column in values]) for row in np.flatnonzero(~fits)}
    if not fits.any():
        return np.empty((0, len(values)), dtype=reader.dtype), wrong
    parts = ((decoder, column[fits], "") for decoder, column in zip(reader.decoders, values, strict=True))
    return reader.of_columns(read_columns(parts)), wrong


def _check_type(decoder: Decoder, values: Array) -> None:
    """Refuse a column in which no value can fit, instead of each of its rows.

    Raises:
        InvalidInputError: if no value can fit.
    """
    if values.dtype == object:
        if isinstance(decoder, CategoryDecoder | DatetimeDecoder):
            return
        given = "text"
    elif isinstance(decoder, CategoryDecoder):
        given = "numbers"
    elif values.dtype == bool and decoder.column.kind != "boolean":
        given = "true and false"
    else:
        return
    name = decoder.column.name
    raise InvalidInputError(FieldError(f"column {shown_name(name)}", f"holds {given}, expected {decoder.expected}"))


def _fits(decoder: Decoder, values: Array) -> NDArray[np.bool_]:
    if values.dtype != object:
        return numbers_fit(decoder, values)[0]
    try:
        decoder.all(values.tolist())
    except MismatchError:
        return np.array([not _mismatch(decoder, value) for value in values.tolist()], dtype=bool)
    return np.ones(len(values), dtype=bool)


def _reason(reader: RowReader, row: list[Any]) -> str:
    """Return what is wrong with a row, in the words of the API."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in row]
    found = (
        f"column {shown_name(decoder.column.name)}: {why}"
        for decoder, value in zip(reader.decoders, plain, strict=True)
        if (why := _mismatch(decoder, _as_written(decoder, value)))
    )
    return "; ".join(found) or "does not fit the model's columns"


def _as_written(decoder: Decoder, value: Any) -> Any:
    """Return the value as a caller of the API would write it: a table stores booleans as 0 and 1."""
    return bool(value) if decoder.column.kind == "boolean" and value in (0, 1) else _or_none(value)


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


def _mismatch(decoder: Decoder, value: Any) -> str:
    try:
        decoder.one(value)
    except MismatchError as error:
        return str(error)
    return ""
