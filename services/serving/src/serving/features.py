"""Rows of JSON values against a model's signature: a matrix when they fit, and what is wrong where when they do not."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from serving.errors import FieldError, InvalidInputError
from serving.runtimes.base import Matrix
from serving.signature import LARGEST_NUMBER, Column, ModelSpec, Value

_MOST_ERRORS = 10


def one_row(spec: ModelSpec, row: Sequence[Value], dtype: type[np.floating]) -> Matrix:
    """Makes a matrix of shape [1, columns] from the field `features`.

    Raises:
        InvalidInputError: naming each value that does not fit.
    """
    if not (spec.only_numbers and _plain(row, len(spec.columns))):
        _raise_if_any(_row_errors(spec, row, "features"))
    return np.array([row], dtype=dtype)


def many_rows(spec: ModelSpec, rows: Sequence[Sequence[Value]], dtype: type[np.floating]) -> Matrix:
    """Makes a matrix of shape [rows, columns] from the field `instances`.

    Raises:
        InvalidInputError: naming the first values that do not fit.
    """
    if not rows:
        raise InvalidInputError(FieldError("instances", "expected at least one row"))
    width = len(spec.columns)
    # Looked at as one long row, because a call for each costs more than all there is to see.
    values = list(chain.from_iterable(rows))
    if not (spec.only_numbers and set(map(len, rows)) == {width} and _plain(values, width * len(rows))):
        _raise_if_any(
            error for index, row in enumerate(rows) for error in _row_errors(spec, row, f"instances[{index}]")
        )
    return np.array(values, dtype=dtype).reshape(-1, width)


def _plain(row: Sequence[Value], width: int) -> bool:
    """Whether a row is so many numbers of a size that models can take. Every request passes here, so no loop."""
    return (
        len(row) == width
        and bool not in set(map(type, row))
        and min(row) >= -LARGEST_NUMBER
        and max(row) <= LARGEST_NUMBER
        and math.isfinite(sum(row))  # what is no number compares with nothing, so those two pass it over
    )


def _raise_if_any(errors: Iterator[FieldError]) -> None:
    first = [error for error, _ in zip(errors, range(_MOST_ERRORS), strict=False)]
    if first:
        raise InvalidInputError(*first)


def _row_errors(spec: ModelSpec, row: Sequence[Value], field: str) -> Iterator[FieldError]:
    if len(row) != len(spec.columns):
        names = ", ".join(column.name for column in spec.columns)
        yield FieldError(field, f"expected {len(spec.columns)} values ({names}), got {len(row)}")
        return
    for index, (column, value) in enumerate(zip(spec.columns, row, strict=True)):
        if reason := _mismatch(column, value):
            yield FieldError(f"{field}[{index}]", f"{reason} (column {column.name!r})")


def _mismatch(column: Column, value: Value) -> str:
    """Says why a value does not fit its column; empty when it does."""
    if column.kind == "boolean":
        return "" if isinstance(value, bool) else f"expected true or false, got {_shown(value)}"
    if isinstance(value, bool):
        return f"expected {'an integer' if column.kind == 'integer' else 'a number'}, got a boolean"
    # JSON knows no integers apart from numbers, so 5.0 is as good as 5.
    if column.kind == "integer" and isinstance(value, float) and not value.is_integer():
        return f"expected an integer, got {_shown(value)}"
    if not column.low <= value <= column.high:
        return f"expected a number between {column.low} and {column.high}"
    return ""


def _shown(value: Value) -> str:
    return repr(value)[:40]
