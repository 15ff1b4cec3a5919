"""Columns as arrays to learn from, or what is wrong with each, in a sentence that names row and value."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct

from training.errors import BadInputError
from training.kinds import NO_TEXT, Column, mixed
from training.settings import ColumnSettings, Kind, Task, suggestion
from training.values import UnusableError, Values, described, is_number, values_of

# More errors than these, nobody reads.
_MOST_PROBLEMS = 20
# The largest spacing of float32 numbers, relative to a column's spread, that needs no centring: well below the gate's
# tolerance for parity.
_COARSE = 2e-5
_LARGEST = float(np.finfo(np.float32).max)
_WAY_OUT = "columns: {NAME: {drop: true}} in training.yaml leaves a column out; {kind: ...} sets its kind."
_SILENT = ColumnSettings()
_kinds = pd.api.types


class Features(Struct, frozen=True, eq=False):
    """Feature columns, and their values.

    Attributes:
        columns: Their descriptions.
        rows: float64, shape [rows, features], or objects (float and str) if there is text. All numbers are float32
            values, except in `centred` columns. NaN and the empty text are missing values.
        centred: Columns whose values float32 cannot hold precisely, so their centre is subtracted first.
    """

    columns: tuple[Column, ...]
    rows: np.ndarray
    centred: tuple[str, ...]


class Examined(Struct, frozen=True, eq=False):
    """The feature columns of a table, in its order, and its problems, one sentence for each column.

    `arrays` has, by name, the values of those columns that need conversion.
    """

    table: pd.DataFrame
    columns: list[Column]
    arrays: dict[str, np.ndarray]
    problems: list[str]


def without_dropped(table: pd.DataFrame, target: str, said: Mapping[str, ColumnSettings], source: str) -> pd.DataFrame:
    """Return a table without the columns that settings drop.

    Raises:
        BadInputError: Settings name a column that does not exist, or the target.
    """
    wrong = []
    for name in said:
        if name == target:
            wrong.append(f"columns: {name!r} is the target, not a column to predict from; `task` sets its kind.")
        elif name not in table.columns:
            wrong.append(f"columns: {source} has no column {name!r}.{suggestion(name, table.columns)}")
    if wrong:
        raise BadInputError("\n".join(wrong))
    return table[[name for name in table.columns if name not in said or not said[name].drop]]


def examine(table: pd.DataFrame, target: str, said: Mapping[str, ColumnSettings]) -> Examined:
    """Read every column, and gather the problems of those that cannot be used, without the table's name."""
    sound = _sound_features(table, target, said)
    columns, arrays, problems = [], {}, []
    for name in table.columns:
        try:
            if name == target:
                _refuse_target(table[name])
            elif name in sound:
                columns.append(sound[name])
            else:
                column, arrays[name] = _feature(name, table[name], said.get(name, _SILENT))
                columns.append(column)
        except UnusableError as error:
            problems.append(f"column {name!r} {error}")
    return Examined(table, columns, arrays, problems)


def refuse(problems: list[str], source: str) -> None:
    """Refuse a table if it has problems, with a line for each, up to a limit.

    Raises:
        BadInputError: It has problems.
    """
    if not problems:
        return
    lines = [f"{source}: {problem}" for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"{source}: {len(problems) - _MOST_PROBLEMS} more columns cannot be used.")
    if any("the target" not in problem for problem in problems):
        lines[-1] += f" {_WAY_OUT}"
    raise BadInputError("\n".join(lines))


def features(examined: Examined, *, exact: bool = False) -> Features:
    """Return the feature columns of a table without `problems`; `exact` does not round numbers to float32."""
    columns, centred = tuple(examined.columns), []
    text = mixed(columns)
    rows = np.empty((len(examined.table), len(columns)), dtype=object if text else np.float64)
    for index, column in enumerate(columns):
        array = examined.arrays.get(column.name)
        if array is None:
            array = examined.table[column.name].to_numpy(dtype=np.float64)
        if column.is_text:
            rows[:, index] = array
            continue
        # The ONNX twin computes in float32. The model learns from float32 values, so that pipeline and twin see the
        # same numbers. Otherwise a value near a tree's threshold could fall on different sides in the two.
        single = array.astype(np.float32).astype(np.float64)
        if _needs_centring(column.kind, array, single):
            centred.append(column.name)
            single = array
        rows[:, index] = array if exact else single
    return Features(columns, rows, tuple(centred))


def truth(values: pd.Series, source: str, task: Task | None) -> tuple[Task, np.ndarray]:
    """Return the target of a table without `problems`, and its task: the one given, or else the one of its type.

    Raises:
        BadInputError: The task does not fit the target.
    """
    column = values.name
    if _kinds.is_bool_dtype(values):
        kind, labels = "booleans", values.to_numpy(dtype=bool)
    elif _kinds.is_integer_dtype(values):
        kind, labels = "integers", values.to_numpy(dtype=np.int64)
    elif _kinds.is_float_dtype(values):
        kind, labels = "floats", values.to_numpy(dtype=np.float64)
    else:
        kind, labels = "strings", np.array(values.to_list(), dtype=str)
    task = task or ("regression" if kind == "floats" else "classification")
    if task == "regression":
        if kind in ("strings", "booleans"):
            raise BadInputError(f"{source}: column {column!r} holds {kind}; regression predicts numbers.")
        return task, labels.astype(np.float64)
    if kind == "floats":
        whole = labels.astype(np.int64, casting="unsafe") if (np.abs(labels) < 2**53).all() else None
        if whole is None or not (whole == labels).all():
            raise BadInputError(
                f"{source}: column {column!r} holds fractional numbers, which cannot be classes; use --task regression."
            )
        labels = whole
    return task, labels


def _sound_features(table: pd.DataFrame, target: str, said: Mapping[str, ColumnSettings]) -> dict[str, Column]:
    """Return the columns of finite numbers without gaps. One pass finds all, because there may be thousands."""
    dtypes = zip(table.columns, table.dtypes, strict=True)
    typed = [(str(name), dtype) for name, dtype in dtypes if name != target and name not in said and is_number(dtype)]
    values = table[[name for name, _ in typed]].to_numpy(dtype=np.float64, na_value=np.nan)
    largest = np.abs(values).max(axis=0)
    return {
        name: Column(name, _kind_of(dtype, top))
        for (name, dtype), top in zip(typed, largest.tolist(), strict=True)
        if top <= _LARGEST
    }


def _kind_of(dtype: Any, largest: float) -> Kind:
    if _kinds.is_bool_dtype(dtype):
        return "boolean"
    # MLflow's type `long` ends at 2**63.
    return "integer" if _kinds.is_integer_dtype(dtype) and largest < 2.0**63 else "number"


def _feature(name: str, values: pd.Series, said: ColumnSettings) -> tuple[Column, np.ndarray]:
    found = values_of(values, said.kind)
    text = found.kind == "category"
    gaps = found.array == NO_TEXT if text else np.isnan(found.array)
    if gaps.all():
        raise UnusableError("has no value in any row; leave it out.")
    if not text:
        _refuse_infinite(found)
    if gaps.any() and said.optional is False:
        raise UnusableError(
            f"has {_cells(gaps)}; fill them, drop the rows, or remove `optional: false` from the column."
        )
    if not text and said.unknown is not None:
        raise UnusableError(f"is of kind {found.kind}; `unknown` is for categories only.")
    column = Column(
        name,
        found.kind,
        optional=bool(gaps.any()) if said.optional is None else said.optional,
        categories=tuple(sorted(set(found.array) - {NO_TEXT})) if text else (),
        unknown=said.unknown or "accept",
        sensitive=said.sensitive,
    )
    return column, found.array


def _refuse_infinite(found: Values) -> None:
    beyond = np.abs(found.array) > _LARGEST
    if beyond.any():
        row = int(beyond.argmax())
        raise UnusableError(
            f"holds {found.array[row]} in row {row + 1}, which is infinite or beyond what float32 holds (3.4e38)."
        )


def _refuse_target(values: pd.Series) -> None:
    missing = values.isna().to_numpy()
    if missing.any():
        raise UnusableError(f"has {_cells(missing)}; it is the target: fill them or drop the rows.")
    if _kinds.is_bool_dtype(values):
        return
    if _kinds.is_integer_dtype(values):
        if int(values.max()) > np.iinfo(np.int64).max:
            raise UnusableError("(the target) holds integers beyond 64 bits.")
    elif _kinds.is_float_dtype(values):
        if not np.isfinite(values.to_numpy(dtype=np.float64)).all():
            raise UnusableError("(the target) holds infinite values.")
    elif not all(isinstance(value, str) for value in values):
        raise UnusableError(
            f"(the target) holds {described(values)}; a target holds strings, integers or booleans to classify, or "
            "floats."
        )


def _cells(missing: np.ndarray) -> str:
    count = int(missing.sum())
    cells = "cell" if count == 1 else "cells"
    return f"{count} empty or NaN {cells} (first in row {int(missing.argmax()) + 1})"


def _needs_centring(kind: Kind, values: np.ndarray, single: np.ndarray) -> bool:
    if kind == "datetime":
        return True
    spread = float(np.nanstd(values))
    if not spread or not np.isfinite(spread):
        return False
    if kind == "integer" and not np.array_equal(single, values, equal_nan=True):
        return True
    return float(np.spacing(np.float32(np.nanmax(np.abs(values))))) / spread > _COARSE
