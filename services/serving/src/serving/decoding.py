"""From values of JSON to what a model computes with, one decoder for each kind of column.

Numbers, booleans and dates become floats, null among them NaN; text stays text, null among it the empty string.
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

# Up to where every whole number has a place of its own.
_EXACT = {np.float32: 2**24, np.float64: 2**53}
_NUMBERS = frozenset({int, float})
_TEXT = frozenset({str})
_LONGEST_SHOWN = 40
_LONGEST_NAME = 100


class MismatchError(Exception):
    """A value does not fit its column; the message says why."""


class UnknownCategoryError(MismatchError):
    """A text is none of the categories that the column takes."""


class Decoder(ABC):
    """Reads the values of one column.

    Attributes:
        column: The column.
    """

    expected: str = "a value"

    def __init__(self, column: Column) -> None:
        self.column = column

    def all(self, values: Sequence[Value]) -> Sequence[Encoded]:
        """Reads many values.

        Raises:
            MismatchError: when one does not fit.
        """
        return [self.one(value) for value in values]

    @abstractmethod
    def one(self, value: Value) -> Encoded:
        """Reads one value.

        Raises:
            MismatchError: when it does not fit.
        """

    def _refused(self, value: Value) -> MismatchError:
        return MismatchError(f"expected {self.expected}, got {shown(value)}")


class NumberDecoder(Decoder):
    """Numbers, whole ones for columns of integers, within the bounds of the column and what the model computes with."""

    def __init__(self, column: Column, dtype: Dtype) -> None:
        super().__init__(column)
        self.whole = column.kind == "integer"
        exact = _EXACT[dtype] if self.whole else float("inf")
        self.low, self.high = max(column.low, -exact), min(column.high, exact)
        self.expected = "an integer" if self.whole else "a number"
        rounds = f", because the model computes in {np.dtype(dtype).name} and would round others"
        self._why = rounds if exact < column.high else ""

    def one(self, value: Value) -> Encoded:
        """Reads one value."""
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
        """Reads many values."""
        if not self.whole and are_numbers(values, self.low, self.high):
            return values  # type: ignore[return-value]
        return super().all(values)

    def bounds(self) -> str:
        """Says between which numbers a value must lie, and why."""
        return f"expected {self._kind()} between {self.low} and {self.high}{self._why}"

    def _kind(self) -> str:
        return "a whole number" if self.whole else "a number"


class BooleanDecoder(Decoder):
    """True and false, as 1 and 0."""

    expected = "true or false"

    def one(self, value: Value) -> Encoded:
        """Reads one value."""
        if isinstance(value, bool):
            return 1.0 if value else 0.0
        if value is None and self.column.optional:
            return math.nan
        raise self._refused(value)


class CategoryDecoder(Decoder):
    """Text, of which the empty one is null."""

    expected = "a string"

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._known = frozenset(column.categories)
        self._allowed = self._known if column.unknown == "refuse" else None

    def one(self, value: Value) -> Encoded:
        """Reads one value."""
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
        """How many of the values that were read are texts that training did not know; 0 where that is not told."""
        return sum(self.unknown_of(values)) if self._known else 0

    def unknown_of(self, values: Iterable[Encoded]) -> list[bool]:
        """Tells for each value that was read whether it is a text that training did not know."""
        return [value not in self._known and value != "" for value in values]

    def all(self, values: Sequence[Value]) -> Sequence[Encoded]:
        """Reads many values."""
        if self._allowed is None and set(map(type, values)) == _TEXT and "" not in values:
            return values  # type: ignore[return-value]
        return super().all(values)


class DatetimeDecoder(Decoder):
    """Moments in ISO 8601, in UTC where no offset is told, or as seconds since 1970 UTC; as the latter."""

    expected = "a date as ISO 8601, or seconds since 1970-01-01 UTC"

    def one(self, value: Value) -> Encoded:
        """Reads one value."""
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
    """Whether values are all numbers between two bounds. Every request of numbers passes here, so no loop."""
    return (
        _NUMBERS.issuperset(map(type, values))
        and min(values) >= low  # type: ignore[type-var,operator]
        and max(values) <= high  # type: ignore[type-var,operator]
        # NaN compares with nothing, so those two pass it over.
        and math.isfinite(sum(values))  # type: ignore[arg-type]
    )


def decoder_of(column: Column, dtype: Dtype) -> Decoder:
    """Makes the decoder of a column, for a model that computes with a dtype."""
    if column.kind == "category":
        return CategoryDecoder(column)
    if column.kind == "boolean":
        return BooleanDecoder(column)
    return DatetimeDecoder(column) if column.kind == "datetime" else NumberDecoder(column, dtype)


def shown(value: Value) -> str:
    """Says what a value is, and shows it where that helps."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return f"a string ({shown_text(value)})" if isinstance(value, str) else repr(value)[:_LONGEST_SHOWN]


def shown_text(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """Shows a text, or its beginning."""
    return repr(text if len(text) <= longest else f"{text[:longest]}...")


def shown_name(name: str) -> str:
    """Shows the name of a column, or its beginning."""
    return shown_text(name, _LONGEST_NAME)


def listed(names: Collection[str], most: int = 20) -> str:
    """Lists names, of very many only the first."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown_name(name) for name in islice(names, most)) + more
