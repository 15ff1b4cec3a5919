"""The values of one column of a table: their kind and an array, or why a model cannot learn from them."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct

from training.kinds import NO_TEXT
from training.settings import Kind

kinds = pd.api.types
_DATE = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?(?:Z|[+-]\d\d:?\d\d))?)?"
_WITH_COMMA = r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?"
_LOGICAL = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
# Every text becomes part of the model's description. A column with more texts is not a category.
_MOST_CATEGORIES = 5000


class UnusableError(Exception):
    """A model cannot learn from a column; the sentence continues `column NAME`."""


class Values(Struct, frozen=True, eq=False):
    """A column's values: float64 with NaN for missing values, or an object array of str with an empty text for them."""

    kind: Kind
    array: np.ndarray


def values_of(column: pd.Series, kind: Kind | None = None) -> Values:
    """Return a column's values, in its own kind or in another one.

    Raises:
        UnusableError: It has values that no kind allows, or that the given kind does not.
    """
    own = _own_kind(column, told=kind is not None)
    kind = kind or own
    return Values(kind, _READERS[kind](column, own))


def is_number(kind: Any) -> bool:
    """Return whether a pandas type is numeric or boolean."""
    return bool(kinds.is_numeric_dtype(kind) and not kinds.is_complex_dtype(kind))


def described(column: pd.Series) -> str:
    """Return what a column that does not hold numbers holds, in words."""
    present = column[column.notna()]
    texts = list(dict.fromkeys(value[:30] for value in present if isinstance(value, str)))
    if texts:
        row = int(column.map(lambda value: isinstance(value, str)).to_numpy().argmax()) + 1
        return f"text such as {', '.join(map(repr, texts[:3]))} (first in row {row})"
    if len(present) and column.dtype == object:
        return f"values of type {type(present.iloc[0]).__name__}"
    return f"values of type {column.dtype}"


def _own_kind(column: pd.Series, *, told: bool) -> Kind:
    present = column.dropna()
    if not len(present):
        # Whatever its type is: Parquet has a type even for columns without values.
        raise UnusableError("has no value in any row; leave it out.")
    if kinds.is_bool_dtype(column):
        return "boolean"
    if kinds.is_integer_dtype(column):
        return "integer" if int(column.max()) <= np.iinfo(np.int64).max else "number"
    if is_number(column.dtype):
        return "number"
    if kinds.is_datetime64_any_dtype(column):
        return "datetime"
    if all(isinstance(value, bool) for value in present):
        return "boolean"
    if not all(isinstance(value, str) for value in present):
        raise UnusableError(
            f"holds {described(column)}; features are numbers, booleans, texts, dates or times. Leave it out, or "
            "convert it to columns of these kinds."
        )
    return _kind_of_texts(column, present, told=told)


def _kind_of_texts(column: pd.Series, present: pd.Series, *, told: bool) -> Kind:
    times = _are_times(present)
    if times.all():
        return "datetime"
    if not told:
        _refuse_odd(present, pd.to_numeric(present, errors="coerce").isna(), column, "numbers", "the numbers")
        _refuse_odd(present, ~times, column, "dates or times in ISO 8601", "they")
        if present.str.strip().str.fullmatch(_WITH_COMMA).all():
            raise UnusableError(
                f"holds {described(column)}: are these numbers with a decimal comma, while other columns have points? "
                "Correct them, or read them as text with kind: category."
            )
    return "category"


def _are_times(present: pd.Series) -> pd.Series:
    times = present.str.fullmatch(_DATE).astype(bool)
    return times & _parsed(present).notna() if times.any() else times


def _refuse_odd(present: pd.Series, odd: pd.Series, column: pd.Series, others: str, names: str) -> None:
    """Refuse a column in which most values are of one kind: the others are mistakes, or marks of missing values."""
    count = int(odd.sum())
    if count and count < len(present) / 2:
        value = present[odd].iloc[0][:30]
        row = int(np.flatnonzero(column.notna())[odd.to_numpy()][0]) + 1
        quoted = msgspec.json.encode(value).decode()
        raise UnusableError(
            f"holds {value!r} in row {row} among {others} ({count} of {len(present)} values are not {others}). "
            f"If it means a missing value, declare it with csv.missing: [{quoted}] (--csv-missing); if {names} are "
            "names, read them as text with kind: category; otherwise correct it."
        )


def _numbers(column: pd.Series, own: Kind) -> np.ndarray:
    if own == "datetime":
        raise UnusableError("holds dates or times, but is declared as numbers.")
    if own == "category":
        found = pd.to_numeric(column, errors="coerce").astype(np.float64)
        _refuse_first(column, found.isna() & column.notna(), "which is not a number")
        return found.to_numpy()
    return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan), copy=True)


def _integers(column: pd.Series, own: Kind) -> np.ndarray:
    found = _numbers(column, own)
    with np.errstate(invalid="ignore"):
        _refuse_first(column, pd.Series((found != np.floor(found)) & ~np.isnan(found)), "which is not a whole number")
    return found


def _booleans(column: pd.Series, own: Kind) -> np.ndarray:
    if own == "category":
        found = column.map(lambda value: _LOGICAL.get(str(value).strip().lower(), np.nan), na_action="ignore")
        found = found.astype(np.float64)
    else:
        numbers = pd.Series(_numbers(column, own))
        found = numbers.where(numbers.isin([0, 1]))
    _refuse_first(column, found.isna() & column.notna().to_numpy(), "which is neither true nor false")
    return found.to_numpy()


def _times(column: pd.Series, own: Kind) -> np.ndarray:
    """Return seconds since 1970 UTC; a time without a zone is read as UTC, and a number as such seconds."""
    if own in ("number", "integer"):
        return _numbers(column, own)
    if own == "boolean":
        raise UnusableError("holds booleans, but is declared as dates or times.")
    times = _parsed(column)
    _refuse_first(column, times.isna() & column.notna(), "which is not a date or time such as 2024-01-31T23:59:59Z")
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    stamps = times.to_numpy().astype("datetime64[us]")
    seconds = stamps.astype(np.int64) / 1e6
    seconds[np.isnat(stamps)] = np.nan
    return seconds


def _parsed(column: pd.Series) -> pd.Series:
    if kinds.is_datetime64_any_dtype(column):
        return column
    return pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")


def _texts(column: pd.Series, own: Kind) -> np.ndarray:
    if own == "datetime" and kinds.is_datetime64_any_dtype(column):
        raise UnusableError("holds times, but is declared as text; save it as text.")
    if own == "number":
        numbers = _numbers(column, own)
        with np.errstate(invalid="ignore"):
            fractions = pd.Series(~np.isnan(numbers) & ~(numbers == np.floor(numbers)))
        _refuse_first(column, fractions, "and a fractional number has several forms as text; save it as text")
        column = pd.Series(pd.array(numbers, dtype="Int64"))
    texts = np.array([NO_TEXT if gap else str(value) for value, gap in zip(column, column.isna(), strict=True)], object)
    count = len(set(texts))
    if count > _MOST_CATEGORIES:
        raise UnusableError(
            f"holds {count} different texts, more than the {_MOST_CATEGORIES} that a column of categories may have; "
            "leave it out, or extract the important parts into columns."
        )
    return texts


def _refuse_first(column: pd.Series, wrong: Any, why: str) -> None:
    flags = np.asarray(wrong, dtype=bool)
    if flags.any():
        row = int(flags.argmax())
        raise UnusableError(f"holds {str(column.iloc[row])[:30]!r} in row {row + 1}, {why}.")


_READERS: dict[Kind, Callable[[pd.Series, Kind], np.ndarray]] = {
    "number": _numbers,
    "integer": _integers,
    "boolean": _booleans,
    "datetime": _times,
    "category": _texts,
}
