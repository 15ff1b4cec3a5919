"""Decodes JSON values into what a model computes with. There is a decoder for each kind of column.

Numbers, booleans and dates become floats, with NaN for null. Text stays text, with the empty string for null.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice

import numpy as np

from serving.columns import EARLIEST, EPOCH, LATEST, Column, Value

Encoded = float | str
Dtype = type[np.floating] | type[np.object_]

# The largest number up to which every whole number can be represented exactly.
_EXACT = {np.float32: 2**24, np.float64: 2**53}
_NUMBERS = frozenset({int, float})
_TEXT = frozenset({str})
_LONGEST_SHOWN = 40
_LONGEST_NAME = 100


class MismatchError(Exception):
    """A value does not fit its column. The message says why."""


class UnknownCategoryError(MismatchError):
    """A text is not among the categories that the column accepts."""


class Decoder(ABC):
    """Decodes the values of one column.

    Attributes:
        column: The column.
    """

    expected: str = "a value"

    def __init__(self, column: Column) -> None:
        self.column = column

    def all(self, values: Sequence[Value]) -> Sequence[Encoded]:
        """Decode many values.

        Raises:
            MismatchError: if a value does not fit.
        """
        return [self.one(value) for value in values]

    @abstractmethod
    def one(self, value: Value) -> Encoded:
        """Decode one value.

        Raises:
            MismatchError: if it does not fit.
        """

    def _refused(self, value: Value) -> MismatchError:
        return MismatchError(f"expected {self.expected}, got {shown(value)}")


class NumberDecoder(Decoder):
    """Numbers within the bounds of the column and of the model's precision. For integer columns, only whole ones."""

    def __init__(self, column: Column, dtype: Dtype) -> None:
        super().__init__(column)
        self.whole = column.kind == "integer"
        exact = _EXACT[dtype] if self.whole else float("inf")
        self.low, self.high = max(column.low, -exact), min(column.high, exact)
        self.expected = "an integer" if self.whole else "a number"
        rounds = f", because the model computes in {np.dtype(dtype).name} and would round others"
        self._why = rounds if exact < column.high else ""

    def one(self, value: Value) -> Encoded:
        """Decode one value."""
        if type(value) is float or type(value) is int:
            if self.low <= value <= self.high:
                if self.whole and value != int(value):
                    raise self._refused(value)
                return float(value)
            if value == value:  # noqa: PLR0124  (NaN is null)
                raise MismatchError(self.bounds())
            value = None
        if value is None and self.column.optional:
            return math.nan
        raise self._refused(value)

    def all(self, values: Sequence[Value]) -> Sequence[Encoded]:
        """Decode many values."""
        if not self.whole and are_numbers(values, self.low, self.high):
            return values  # type: ignore[return-value]
        return super().all(values)

    def bounds(self) -> str:
        """Return a message with the bounds of a value, and their reason."""
        return f"expected {self._kind()} between {self.low} and {self.high}{self._why}"

    def _kind(self) -> str:
        return "a whole number" if self.whole else "a number"


class BooleanDecoder(Decoder):
    """True and false, as 1 and 0."""

    expected = "true or false"

    def one(self, value: Value) -> Encoded:
        """Decode one value."""
        if isinstance(value, bool):
            return 1.0 if value else 0.0
        if value is None and self.column.optional:
            return math.nan
        raise self._refused(value)


class CategoryDecoder(Decoder):
    """Text. The empty string means null."""

    expected = "a string"

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._known = frozenset(column.categories)
        self._allowed = self._known if column.unknown == "refuse" else None

    def one(self, value: Value) -> Encoded:
        """Decode one value."""
        if type(value) is str and value:
            if self._allowed is not None and value not in self._allowed:
                known = listed(self.column.categories)
                raise UnknownCategoryError(f"unknown category {shown_text(value)}, known ones are {known}")
            return value
        if not value and type(value) in {str, type(None)}:
            if self.column.optional:
                return ""
            if value is not None:
                raise MismatchError("expected a string, got an empty one, which means null")
        raise self._refused(value)

    def unknown(self, values: Iterable[Encoded]) -> int:
        """Return how many decoded values are texts that were not in the training data, 0 if that is not known."""
        return sum(self.unknown_of(values)) if self._known else 0

    def unknown_of(self, values: Iterable[Encoded]) -> list[bool]:
        """Return for each decoded value whether it is a text that was not in the training data."""
        return [value not in self._known and value != "" for value in values]

    def all(self, values: Sequence[Value]) -> Sequence[Encoded]:
        """Decode many values."""
        if self._allowed is None and set(map(type, values)) == _TEXT and "" not in values:
            return values  # type: ignore[return-value]
        return super().all(values)


class DatetimeDecoder(Decoder):
    """Times as ISO 8601 (in UTC without an offset), or as seconds since 1970 UTC, which is also the decoded form."""

    expected = "a date as ISO 8601, or seconds since 1970-01-01 UTC"

    def one(self, value: Value) -> Encoded:
        """Decode one value."""
        if isinstance(value, str) and value:
            return self._moment(value)
        if type(value) is float or type(value) is int:
            if EARLIEST <= value <= LATEST:
                return float(value)
            if value == value:  # noqa: PLR0124  (NaN is null)
                raise MismatchError(
                    f"expected {self.expected}, got {shown(value)}, which is not in the years 1 to 9999 (is it in "
                    "milliseconds?)"
                )
            value = None
        if (value is None or value == "") and self.column.optional:
            return math.nan
        raise self._refused(value)

    def _moment(self, text: str) -> float:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._refused(text) from None
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH).total_seconds()


def are_numbers(values: Sequence[Value], low: float, high: float) -> bool:
    """Return whether all values are numbers between two bounds. Without a loop, because every request runs it."""
    return (
        _NUMBERS.issuperset(map(type, values))
        and min(values) >= low  # type: ignore[type-var,operator]
        and max(values) <= high  # type: ignore[type-var,operator]
        # `min` and `max` can miss a NaN, because comparisons with it are false.
        and math.isfinite(sum(values))  # type: ignore[arg-type]
    )


def decoder_of(column: Column, dtype: Dtype) -> Decoder:
    """Create the decoder of a column, for a model that computes with a dtype."""
    if column.kind == "category":
        return CategoryDecoder(column)
    if column.kind == "boolean":
        return BooleanDecoder(column)
    return DatetimeDecoder(column) if column.kind == "datetime" else NumberDecoder(column, dtype)


def shown(value: Value) -> str:
    """Return a description of a value for messages, with the value itself where that helps."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return f"a string ({shown_text(value)})" if isinstance(value, str) else repr(value)[:_LONGEST_SHOWN]


def shown_text(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """Return a text in quotes, shortened to its beginning."""
    return repr(text if len(text) <= longest else f"{text[:longest]}...")


def shown_name(name: str) -> str:
    """Return the name of a column in quotes, shortened to its beginning."""
    return shown_text(name, _LONGEST_NAME)


def listed(names: Collection[str], most: int = 20) -> str:
    """Return a list of names, with at most the first `most` of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown_name(name) for name in islice(names, most)) + more
