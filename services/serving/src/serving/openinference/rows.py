"""Turns the protocol's tensors into the rows of a model.

There are two forms. One tensor `features` of shape [rows, columns] has all columns, unless a column is text. Otherwise
there is one tensor for each column, with its name, of shape [rows] or [rows, 1]. Null is NaN in a tensor of numbers,
and the empty string in one of BYTES.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.columns import Column
from serving.decoding import (
    BooleanDecoder,
    CategoryDecoder,
    Decoder,
    MismatchError,
    NumberDecoder,
    UnknownCategoryError,
    listed,
)
from serving.errors import FieldError, InvalidInputError
from serving.features import RowReader
from serving.loader import LoadedModel
from serving.openinference.tensors import Array
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec

FEATURES = "features"

_DATATYPES = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "datetime": "FP64",
}
_NO_NULL = frozenset({"INT64", "INT32", "BOOL"})
_MOST_ERRORS = 10


def datatype_of_column(column: Column) -> str:
    """Return the datatype of a column, or if it may be null, one that has a null."""
    datatype = _DATATYPES[column.type]
    return "FP64" if column.optional and datatype in _NO_NULL else datatype


def takes_whole(spec: ModelSpec) -> bool:
    """Return whether `features` may be the tensor of all columns."""
    return not spec.mixed and all(column.name != FEATURES for column in spec.columns)


def rows(model: LoadedModel, tensors: dict[str, Array]) -> Matrix:
    """Return the rows for the model, of shape [rows, columns].

    Raises:
        InvalidInputError: naming each tensor, or its first value, that does not fit.
    """
    whole = FEATURES in tensors and takes_whole(model.spec)
    matrix = _from_matrix(model.reader, tensors) if whole else _from_columns(model.spec, model.reader, tensors)
    if not len(matrix):
        raise _wrong("inputs", "expected at least one row")
    return matrix


def _from_matrix(reader: RowReader, tensors: dict[str, Array]) -> Matrix:
    matrix, width = tensors[FEATURES], len(reader.columns)
    if len(tensors) > 1:
        others = listed([name for name in tensors if name != FEATURES])
        raise _wrong("inputs", f"{FEATURES!r} holds all columns, so the request must not have {others}")
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise _wrong(_field(FEATURES), f"expected shape [rows, {width}], got {list(matrix.shape)}")
    if matrix.dtype not in (bool, object) and (rows := reader.of_numbers(matrix)) is not None:
        return rows
    field = _field(FEATURES)
    parts = ((decoder, matrix[:, index], field) for index, decoder in enumerate(reader.decoders))
    return reader.of_columns(read_columns(parts))


def _from_columns(spec: ModelSpec, reader: RowReader, tensors: dict[str, Array]) -> Matrix:
    known = {column.name for column in spec.columns}
    unknown = [name for name in tensors if name not in known]
    absent = [column.name for column in spec.columns if column.name not in tensors]
    if unknown or absent:
        names = listed([column.name for column in spec.columns])
        instead = f"{FEATURES!r}, or " if takes_whole(spec) else ""
        what = f"unknown tensor {unknown[0][:100]!r}" if unknown else f"the tensor {absent[0]!r} is missing"
        raise _wrong("inputs", f"{what}; expected {instead}one tensor for each of {names}")
    lengths = {tensor.shape[0] for tensor in tensors.values()}
    if len(lengths) > 1:
        raise _wrong("inputs", f"the tensors have different numbers of rows: {sorted(lengths)}")
    named = [(decoder, decoder.column.name) for decoder in reader.decoders]
    parts = ((decoder, _one_column(name, tensors[name]), _field(name)) for decoder, name in named)
    return reader.of_columns(read_columns(parts))


def _one_column(name: str, values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] != 1:
        raise _wrong(_field(name), f"expected shape [rows] or [rows, 1], got {list(values.shape)}")
    return values.reshape(-1)


def read_columns(parts: Iterable[tuple[Decoder, Array, str]]) -> list[Any]:
    """Decode columns. Each part is a decoder, the values, and the field that errors name.

    Raises:
        InvalidInputError: naming the first value of each column that does not fit.
    """
    columns: list[Any] = []
    errors: list[FieldError] = []
    for decoder, values, field in parts:
        if values.dtype == object:
            errors += _text_errors(decoder, values, field)
            columns.append(() if errors else decoder.all(values.tolist()))
        else:
            errors += _number_errors(decoder, values, field)
            columns.append(values)
    if errors:
        raise InvalidInputError(*errors[:_MOST_ERRORS])
    return columns


def _text_errors(decoder: Decoder, values: Array, field: str) -> Iterator[FieldError]:
    """Yield an error for the first text of a column that does not fit, if there is one."""
    try:
        decoder.all(values.tolist())
    except MismatchError:
        for row, value in enumerate(values.tolist()):
            try:
                decoder.one(value)
            except MismatchError as error:
                name = decoder.column.name if isinstance(error, UnknownCategoryError) else ""
                yield FieldError(field, f"{error} in row {row} (column {decoder.column.name!r})", name)
                return


def _number_errors(decoder: Decoder, values: Array, field: str) -> Iterator[FieldError]:
    """Yield an error for the first number of a column that does not fit, if there is one."""
    column = decoder.column
    fits, expected = numbers_fit(decoder, values)
    if not fits.all():
        row = int(fits.argmin())
        if values.dtype.kind == "f" and np.isnan(values[row]):
            expected += ", got null, which the column does not take,"
        if isinstance(decoder, NumberDecoder) and values.dtype != bool and decoder.low <= values[row] <= decoder.high:
            expected = f"expected {decoder.expected}, got {values[row]}"
        yield FieldError(field, f"{expected} in row {row} (column {column.name!r})")


def numbers_fit(decoder: Decoder, values: Array) -> tuple[NDArray[np.bool_], str]:
    """Return which numbers fit a column, shape [rows], and which values the column expects."""
    column = decoder.column
    if isinstance(decoder, BooleanDecoder):
        fits, expected = (values == 0) | (values == 1), "expected true or false"
    elif isinstance(decoder, CategoryDecoder):
        return np.zeros(len(values), dtype=bool), "expected text (BYTES), as the column is text,"
    elif values.dtype == bool:
        return np.zeros(len(values), dtype=bool), "expected a number, not true or false (BOOL),"
    else:
        low, high = (decoder.low, decoder.high) if isinstance(decoder, NumberDecoder) else (column.low, column.high)
        # A date as text would be BYTES.
        what = "seconds since 1970-01-01 UTC" if column.kind == "datetime" else decoder.expected
        fits, expected = (values >= low) & (values <= high), f"expected {what} between {low:.0f} and {high:.0f}"
        if isinstance(decoder, NumberDecoder):
            expected = decoder.bounds()
            if decoder.whole and values.dtype.kind == "f":
                fits &= np.isfinite(values) & (np.trunc(values) == values)
    if column.optional and values.dtype.kind == "f":
        fits |= np.isnan(values)
    return fits, expected


def _field(tensor: str) -> str:
    return f"inputs[{tensor!r}]"


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
