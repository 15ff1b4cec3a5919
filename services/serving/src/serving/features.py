"""Checks rows of JSON values against a model's signature: returns an array if they fit, or else what is wrong."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.columns import LARGEST_NUMBER, Column, Value
from serving.decoding import (
    CategoryDecoder,
    Decoder,
    Dtype,
    Encoded,
    MismatchError,
    UnknownCategoryError,
    are_numbers,
    decoder_of,
    listed,
    shown_name,
)
from serving.errors import FieldError, InvalidInputError
from serving.runtimes.base import Matrix

Row = Sequence[Value] | dict[str, Value]

_MOST_ERRORS = 10


class RowReader:
    """Turns the rows of requests into arrays that a model can compute with.

    A row is an array in the order of the columns, or an object with their names. In an object, optional columns may be
    absent.

    Args:
        columns: The model's columns.
        dtypes: The dtype of each column. With text, all arrays have dtype object.

    Attributes:
        names: The names of the columns.
        dtype: The dtype of the returned arrays.
        decoders: The decoder of each column.
    """

    def __init__(self, columns: Sequence[Column], dtypes: Sequence[Dtype]) -> None:
        self.columns = tuple(columns)
        self.dtype: Any = np.object_ if np.object_ in dtypes else next(iter(dtypes), np.float32)
        self.decoders: tuple[Decoder, ...] = tuple(map(decoder_of, columns, dtypes))
        self._width = len(self.columns)
        self._ordered = tuple(column.name for column in self.columns)
        self.names = frozenset(self._ordered)
        self._required = frozenset(column.name for column in self.columns if not column.optional)
        self._repeated = next((name for name in self._ordered if self._ordered.count(name) > 1), None)
        self.only_numbers = all(column.kind == "number" and not column.optional for column in self.columns)

    def one(self, row: Row) -> Matrix:
        """Return an array of shape [1, columns] from the field `features`.

        Raises:
            InvalidInputError: naming each value that does not fit.
        """
        values = self._values(row, "features")
        if self.only_numbers and len(values) == self._width and are_numbers(values, -LARGEST_NUMBER, LARGEST_NUMBER):
            return np.array([values], dtype=self.dtype)
        try:
            pairs = zip(self.decoders, values, strict=True)
            return np.array([[decoder.one(value) for decoder, value in pairs]], dtype=self.dtype)
        except (MismatchError, ValueError):
            raise _all_of(self._errors(row, "features")) from None

    def many(self, rows: Sequence[Row], field: str = "instances") -> Matrix:
        """Return an array of shape [rows, columns] from a field.

        Raises:
            InvalidInputError: naming the first values that do not fit.
        """
        if not rows:
            raise InvalidInputError(FieldError(field, "expected at least one row"))
        plain: Sequence[Any] = rows
        if dict in set(map(type, rows)):
            plain = [self._values(row, f"{field}[{index}]") for index, row in enumerate(rows)]
        if set(map(len, plain)) == {self._width}:
            if self.only_numbers:
                # Checked as one long row, because a call for each row would cost more than the check.
                values = list(chain.from_iterable(plain))
                if are_numbers(values, -LARGEST_NUMBER, LARGEST_NUMBER):
                    return np.array(values, dtype=self.dtype).reshape(-1, self._width)
            else:
                try:
                    columns = zip(self.decoders, zip(*plain, strict=True), strict=True)
                    return self.of_columns([decoder.all(values) for decoder, values in columns])
                except MismatchError:
                    pass
        raise _all_of(
            error for index, row in enumerate(rows) for error in self._errors(row, f"{field}[{index}]")
        ) from None

    def of_numbers(self, rows: np.ndarray[Any, Any]) -> Matrix | None:
        """Return an array of shape [rows, columns] from one of numbers. None if the model or a value does not fit.

        `many` then reports what does not fit.
        """
        if not self.only_numbers or rows.ndim != 2 or rows.shape[1] != self._width or not len(rows):
            return None
        # A NaN is not within any bounds.
        if not (rows.min() >= -LARGEST_NUMBER and rows.max() <= LARGEST_NUMBER):
            return None
        return np.require(rows, self.dtype, ["C", "A"])

    def of_columns(self, columns: Sequence[Sequence[Encoded] | np.ndarray[Any, Any]]) -> Matrix:
        """Return an array of shape [rows, columns] from decoded columns."""
        rows: Matrix = np.empty((len(columns[0]), self._width), dtype=self.dtype)
        for index, values in enumerate(columns):
            rows[:, index] = values
        return rows

    def unknown(self, rows: Matrix) -> Iterator[tuple[str, int]]:
        """Yield each text column with values that were not in the training data, and how many there are."""
        for index, decoder in enumerate(self.decoders):
            if isinstance(decoder, CategoryDecoder) and (count := decoder.unknown(rows[:, index])):
                yield decoder.column.name, count

    def unknown_in(self, rows: Matrix) -> NDArray[np.bool_]:
        """Return for each row whether it has a text that was not in the training data; shape [rows]."""
        found = np.zeros(len(rows), dtype=bool)
        for index, decoder in enumerate(self.decoders):
            if isinstance(decoder, CategoryDecoder) and decoder.column.categories:
                found |= decoder.unknown_of(rows[:, index])
        return found

    def _values(self, row: Row, field: str) -> Sequence[Value]:
        """Return the values of a row in the order of the columns.

        Raises:
            InvalidInputError: naming each name that is unknown or missing.
        """
        if not isinstance(row, dict):
            return row
        if self._repeated is None:
            if len(row) == self._width and row.keys() >= self.names:
                return [row[name] for name in self._ordered]
            if self._required <= row.keys() <= self.names:
                return [row.get(name) for name in self._ordered]
        raise InvalidInputError(*self._wrong_names(row, field))

    def _wrong_names(self, row: dict[str, Value], field: str) -> list[FieldError]:
        if self._repeated is not None:
            reason = f"the model has two columns {shown_name(self._repeated)}, so rows must be arrays"
            return [FieldError(field, reason)]
        known = f"the model has {listed(self._ordered)}"
        unknown = (f"unknown column {shown_name(name)}; {known}" for name in row if name not in self.names)
        missing = (
            f"column {shown_name(name)} is missing"
            for name in self._ordered
            if name in self._required and name not in row
        )
        # Only as many as are reported: a body has room for a hundred thousand names.
        return [FieldError(field, reason) for reason in islice(chain(unknown, missing), _MOST_ERRORS)]

    def _errors(self, row: Row, field: str) -> Iterator[FieldError]:
        """Yield what is wrong with a row."""
        named = isinstance(row, dict)
        values = self._values(row, field)
        if len(values) != self._width:
            yield FieldError(field, f"expected {self._width} values ({listed(self._ordered)}), got {len(values)}")
            return
        for index, (decoder, value) in enumerate(zip(self.decoders, values, strict=True)):
            name = decoder.column.name
            try:
                decoder.one(value)
            except MismatchError as error:
                where = f"{field}[{shown_name(name)}]" if named else f"{field}[{index}]"
                reason = str(error) if named else f"{error} (column {name!r})"
                yield FieldError(where, reason, name if isinstance(error, UnknownCategoryError) else "")


def _all_of(errors: Iterator[FieldError]) -> InvalidInputError:
    """Return an error with the first of these."""
    return InvalidInputError(*(error for error, _ in zip(errors, range(_MOST_ERRORS), strict=False)))
