"""Columns as arrays to learn from, or what is wrong with each, in a sentence that names row and value."""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct

from training.errors import BadInputError
from training.settings import Task

# As many mistakes as somebody reads.
_MOST_PROBLEMS = 20
# How coarse float32 may be beside a column's spread before the column is centred: well below the gate's parity.
_COARSE = 2e-5
_kinds = pd.api.types


class Features(Struct, frozen=True, eq=False):
    """Feature columns as numbers.

    Attributes:
        rows: float64, shape [rows, features]: values that float32 holds exactly, but for the columns of `centred`.
        centred: Columns that float32 holds too coarsely as they are, so that their centre is taken away first.
    """

    rows: np.ndarray
    centred: tuple[str, ...]


def problems(table: pd.DataFrame, target: str) -> list[str]:
    """What keeps the columns from being learnt from, a sentence a column, each without the table's name."""
    sound = _sound_features(table, target)
    found = []
    for name in table.columns:
        if name in sound:
            continue
        problem = _target_problem(table[name]) if name == target else _feature_problem(table[name])
        if problem:
            found.append(f"column {name!r} {problem}")
    return found


def refuse(found: list[str], source: str) -> None:
    """Refuse a table with what is wrong with it, a line for each, up to a bound.

    Raises:
        BadInputError: Something is wrong.
    """
    if not found:
        return
    lines = [f"{source}: {problem}" for problem in found[:_MOST_PROBLEMS]]
    if len(found) > _MOST_PROBLEMS:
        lines.append(f"{source}: {len(found) - _MOST_PROBLEMS} more columns cannot be used.")
    raise BadInputError("\n".join(lines))


def features(table: pd.DataFrame, names: tuple[str, ...]) -> Features:
    """The feature columns of a table that has no `problems`."""
    columns = table[list(names)]
    rows = columns.to_numpy(dtype=np.float64, copy=True)
    centred = []
    for index, (name, kind) in enumerate(zip(names, columns.dtypes, strict=True)):
        # The ONNX twin computes in float32. Learning from values that float32 holds exactly means that pipeline and
        # twin see the same numbers, so that a value beside a tree's threshold cannot fall on one side here and the
        # other there.
        single = rows[:, index].astype(np.float32).astype(np.float64)
        if _needs_centring(_kinds.is_integer_dtype(kind), rows[:, index], single):
            centred.append(name)
        else:
            rows[:, index] = single
    return Features(rows, tuple(centred))


def truth(values: pd.Series, source: str, task: Task | None) -> tuple[Task, np.ndarray]:
    """The target of a table that has no `problems`, and the task that it calls for unless one is told.

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
                f"{source}: column {column!r} holds fractional numbers, which are no classes; use --task regression."
            )
        labels = whole
    return task, labels


def _sound_features(table: pd.DataFrame, target: str) -> set[str]:
    """The columns of finite numbers without gaps, found all at once, for there may be thousands."""
    kinds = zip(table.columns, table.dtypes, strict=True)
    names = [str(name) for name, kind in kinds if name != target and _is_number(kind)]
    values = table[names].to_numpy(dtype=np.float64, na_value=np.nan)
    fits = np.abs(values).max(axis=0) <= np.finfo(np.float32).max
    return {name for name, fit in zip(names, fits, strict=True) if fit}


def _is_number(kind: Any) -> bool:
    return bool(_kinds.is_numeric_dtype(kind) and not _kinds.is_complex_dtype(kind))


def _feature_problem(values: pd.Series) -> str | None:
    if not _is_number(values.dtype):
        return _not_numbers(values) or _gaps(values)
    gaps = _gaps(values)
    if gaps:
        return gaps
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.to_numpy(dtype=np.float64).astype(np.float32))
    if not finite.all():
        row = int((~finite).argmax())
        return f"holds {values.iloc[row]} in row {row + 1}, which is infinite or beyond what float32 holds (3.4e38)."
    return None


def _target_problem(values: pd.Series) -> str | None:
    gaps = _gaps(values)
    if gaps:
        return gaps
    if _kinds.is_bool_dtype(values):
        return None
    if _kinds.is_integer_dtype(values):
        too_large = int(values.max()) > np.iinfo(np.int64).max
        return "(the target) holds integers beyond 64 bits." if too_large else None
    if _kinds.is_float_dtype(values):
        finite = np.isfinite(values.to_numpy(dtype=np.float64)).all()
        return None if finite else "(the target) holds infinite values."
    if all(isinstance(value, str) for value in values):
        return None
    return (
        f"(the target) holds {_described(values)}; a target holds strings, integers or booleans to classify, or floats."
    )


def _gaps(values: pd.Series) -> str | None:
    missing = values.isna().to_numpy()
    count = int(missing.sum())
    if not count:
        return None
    cells = "cell" if count == 1 else "cells"
    return f"has {count} empty or NaN {cells} (first in row {int(missing.argmax()) + 1}); fill them or drop the rows."


def _not_numbers(values: pd.Series) -> str | None:
    """What a column that is not of numbers holds; None where all it holds beside gaps is numbers and booleans."""
    odd = (pd.to_numeric(values, errors="coerce").isna() & values.notna()).to_numpy()
    count, present = int(odd.sum()), int(values.notna().sum())
    texts = all(isinstance(value, str) for value in values[odd])
    if texts and 0 < count < present / 2:
        row = int(odd.argmax())
        value = values.iloc[row][:30]
        return (
            f"holds {value!r} in row {row + 1} among numbers ({count} of {present} values are not numbers). "
            f"If it stands for a missing value, declare that by csv.missing: [{_quoted(value)}] (--csv-missing); "
            "else correct it."
        )
    if not count and present and all(isinstance(value, bool) for value in values.dropna()):
        return None
    return (
        f"holds {_described(values)}; features are numbers or booleans. Encode the column as numbers or leave it out."
    )


def _quoted(value: str) -> str:
    return msgspec.json.encode(value).decode()


def _described(values: pd.Series) -> str:
    present = values[values.notna()]
    texts = list(dict.fromkeys(value[:30] for value in present if isinstance(value, str)))
    if texts:
        row = int(values.map(lambda value: isinstance(value, str)).to_numpy().argmax()) + 1
        return f"text such as {', '.join(map(repr, texts[:3]))} (first in row {row})"
    return f"values of type {values.dtype}"


def _needs_centring(whole: bool, values: np.ndarray, single: np.ndarray) -> bool:
    spread = float(values.std())
    if not spread or not np.isfinite(spread):
        return False
    if whole and not (single == values).all():
        return True
    return float(np.spacing(np.float32(np.abs(values).max()))) / spread > _COARSE
