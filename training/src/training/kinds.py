"""The kinds of columns, and how rows of several kinds are kept as arrays (docs/model-format.md)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct

from modelformat import columns as _format
from modelformat.columns import Kind, Unknown

SIGNATURE_TYPES = _format.SIGNATURE_TYPES
NO_TEXT = _format.NO_TEXT


class Column(Struct, frozen=True, omit_defaults=False):
    """One feature column.

    Attributes:
        name: The name in the table.
        kind: The kind of its values.
        optional: Whether a value may be missing.
        categories: The texts in the table, sorted; for a category only.
        unknown: Whether other texts are accepted; for a category only.
        sensitive: Whether the prediction log must not keep its values.
    """

    name: str
    kind: Kind = "number"
    optional: bool = False
    categories: tuple[str, ...] = ()
    unknown: Unknown = "accept"
    sensitive: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its values are text; they are numbers otherwise."""
        return self.kind == "category"

    def described(self) -> dict[str, Any]:
        """Return its entry in a model's `metadata.columns`."""
        entry: dict[str, Any] = {"name": self.name, "kind": self.kind, "optional": self.optional}
        if self.is_text:
            entry |= {"categories": list(self.categories), "unknown": self.unknown}
        # Written only if true, so that models without such columns keep their digests.
        return entry | {"sensitive": True} if self.sensitive else entry


def plain(columns: Sequence[Column]) -> bool:
    """Return whether the columns need no preparation: all hold numbers or booleans, and none has gaps."""
    return not any(column.is_text or column.optional for column in columns)


def mixed(columns: Sequence[Column]) -> bool:
    """Return whether there is text among the columns, so that rows are an object array."""
    return any(column.is_text for column in columns)


def numeric(rows: np.ndarray, index: int) -> np.ndarray:
    """Return a column of numbers as float64, shape [rows], NaN where a value is missing."""
    return np.ascontiguousarray(rows[:, index], dtype=np.float64)


def missing(column: Column, rows: np.ndarray, index: int) -> np.ndarray:
    """Return which rows have no value in a column; shape [rows]."""
    found: np.ndarray = rows[:, index] == NO_TEXT if column.is_text else np.isnan(numeric(rows, index))
    return found


def as_frame(columns: Sequence[Column], rows: np.ndarray) -> pd.DataFrame:
    """Return rows as a table, with the types by which MLflow knows the kinds."""
    values = {index: _values(column, rows, index) for index, column in enumerate(columns)}
    frame = pd.DataFrame(values)
    frame.columns = pd.Index([column.name for column in columns])
    return frame


def as_asked(columns: Sequence[Column], row: np.ndarray) -> list[Any]:
    """Return a row's values as a caller writes them in JSON: null where one is missing, a time as ISO 8601."""
    return [_asked(column, value) for column, value in zip(columns, row.tolist(), strict=True)]


def _asked(column: Column, value: Any) -> Any:
    if column.is_text:
        return value or None
    if np.isnan(value):
        return None
    if column.kind == "datetime":
        return pd.Timestamp(round(value * 1e6), unit="us", tz="UTC").isoformat()
    if column.kind == "boolean":
        return bool(value)
    if column.kind == "integer":
        return int(value)
    # The fewest digits that identify a float32 value: 5.1 rather than 5.099999904632568.
    single = np.float32(value)
    return float(str(single)) if single == value else value


def _values(column: Column, rows: np.ndarray, index: int) -> Any:
    if column.is_text:
        return pd.Series([None if text == NO_TEXT else text for text in rows[:, index]], dtype=object)
    values = numeric(rows, index)
    if column.kind == "datetime":
        # float64 is exact to the microsecond.
        return pd.to_datetime(np.round(values * 1e6), unit="us")
    gaps = bool(np.isnan(values).any())
    if column.kind == "integer":
        return values if gaps else values.astype(np.int64)
    if column.kind == "boolean":
        return pd.Series([None if np.isnan(value) else bool(value) for value in values], dtype=object if gaps else bool)
    return values
