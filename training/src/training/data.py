"""Data sets: the built-in ones and tables from files, checked and turned into plain arrays."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn import datasets

from training.errors import BadInputError
from training.settings import Label, Task, suggestion
from training.tables import read_table, stem


class Dataset(Struct, frozen=True, eq=False):
    """Rows ready to learn from.

    Attributes:
        name: Short name: the built-in data set's, or the file's stem.
        source: What was asked for: the built-in name or the path.
        task: What the target calls for.
        features: Column names, in the order of `rows`' columns.
        target: The predicted column's name.
        rows: float64, shape [rows, features], every value exactly representable as float32.
        truth: Shape [rows]: labels (str, int64 or bool) or float64 values.
        classes: The labels in sorted order, empty for regression.
        sha256: Hash of names, rows and truth, in hexadecimal.
    """

    name: str
    source: str
    task: Task
    features: tuple[str, ...]
    target: str
    rows: np.ndarray
    truth: np.ndarray
    classes: tuple[Label, ...]
    sha256: str

    def frame(self) -> pd.DataFrame:
        """The rows as a table with the target as its last column."""
        return pd.DataFrame(self.rows, columns=list(self.features)).assign(**{self.target: self.truth})


class BuiltIn(Struct, frozen=True):
    """A data set that scikit-learn brings along, so that nothing is downloaded."""

    loader: str
    target: str
    model_name: str
    target_names: bool = True


BUILT_IN = {
    "iris": BuiltIn("load_iris", "species", "iris-classifier"),
    "wine": BuiltIn("load_wine", "cultivar", "wine-classifier"),
    "breast-cancer": BuiltIn("load_breast_cancer", "diagnosis", "breast-cancer-classifier"),
    "diabetes": BuiltIn("load_diabetes", "progression", "diabetes-regressor", target_names=False),
}


def load_dataset(source: str, target: str | None = None, task: Task | None = None) -> Dataset:
    """Load and check a data set.

    Args:
        source: A built-in name, or the path of a CSV or Parquet file.
        target: The column to predict; a must for files.
        task: Overrides what the target's type says (a float target means regression, anything else classification).

    Raises:
        BadInputError: There is no such data, or it cannot be learnt from; the sentence names file and column.
    """
    table, name, own_target = _table(source)
    target = target or own_target
    if target is None:
        raise BadInputError(f"{source}: name the column to predict with --target; the columns are {_listed(table)}.")
    if target not in table.columns:
        hint = suggestion(target, table.columns)
        raise BadInputError(f"{source}: no column {target!r} to predict.{hint} The columns are {_listed(table)}.")
    features = tuple(column for column in table.columns if column != target)
    if not features:
        raise BadInputError(f"{source}: no column beside the target {target!r} to predict from.")
    _refuse_gaps(table, source)
    task, truth = _truth(table[target], source, task)
    rows = _rows(table, features, source)
    classes = tuple(np.unique(truth).tolist()) if task == "classification" else ()
    if len(np.unique(truth)) < 2:
        raise BadInputError(f"{source}: column {target!r} has one value in every row; there is nothing to learn.")
    return Dataset(
        name, source, task, features, target, rows, truth, classes, _content_hash(features, target, rows, truth)
    )


def default_model_name(dataset: Dataset) -> str:
    """The registered model's name for a data set: the built-in one's, or the file's stem in lower case."""
    built_in = BUILT_IN.get(dataset.source)
    if built_in:
        return built_in.model_name
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in dataset.name).strip("._-").lower()
    if not name:
        raise BadInputError(f"{dataset.source}: the file's name makes no model name; give one with --name.")
    return name[:100].rstrip("._-")


def _table(source: str) -> tuple[pd.DataFrame, str, str | None]:
    built_in = BUILT_IN.get(source)
    if built_in:
        return _built_in_table(built_in), source, built_in.target
    path = Path(source)
    if not path.exists():
        raise BadInputError(
            f"--data: there is neither a file {source!r} nor a built-in data set of that name "
            f"({', '.join(BUILT_IN)}).{suggestion(source, BUILT_IN)}"
        )
    return read_table(path), stem(path), None


def _built_in_table(built_in: BuiltIn) -> pd.DataFrame:
    loader: Callable[[], Any] = getattr(datasets, built_in.loader)
    loaded = loader()
    truth = np.asarray(loaded.target_names)[loaded.target] if built_in.target_names else loaded.target
    return pd.DataFrame(loaded.data, columns=list(loaded.feature_names)).assign(**{built_in.target: truth})


def _refuse_gaps(table: pd.DataFrame, source: str) -> None:
    gaps = table.isna()
    for column in table.columns[gaps.any().to_numpy()]:
        count = int(gaps[column].sum())
        cells = "cell" if count == 1 else "cells"
        first = int(gaps[column].to_numpy().argmax()) + 1
        raise BadInputError(
            f"{source}: column {column!r} has {count} empty or NaN {cells} (first in row {first}); "
            "fill them or drop the rows."
        )


def _rows(table: pd.DataFrame, features: tuple[str, ...], source: str) -> np.ndarray:
    for column in features:
        values = table[column]
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values)
        if not numeric:
            raise BadInputError(
                f"{source}: column {column!r} holds {_described(values)}; features are numbers or booleans. "
                "Encode the column as numbers or leave it out."
            )
    # The ONNX twin computes in float32. Learning from values that float32 holds exactly means that pipeline and twin
    # see the same numbers, so that a value beside a tree's threshold cannot fall on one side here and the other there.
    with np.errstate(over="ignore"):
        rows = table[list(features)].to_numpy(dtype=np.float64).astype(np.float32).astype(np.float64)
    for index, column in enumerate(features):
        finite = np.isfinite(rows[:, index])
        if not finite.all():
            row = int((~finite).argmax())
            raise BadInputError(
                f"{source}: column {column!r} holds {table[column].iloc[row]} in row {row + 1}, "
                "which is infinite or beyond what float32 holds (3.4e38)."
            )
    return rows


def _truth(values: pd.Series, source: str, task: Task | None) -> tuple[Task, np.ndarray]:
    column = values.name
    kinds = pd.api.types
    if kinds.is_bool_dtype(values):
        kind, labels = "booleans", values.to_numpy(dtype=bool)
    elif kinds.is_integer_dtype(values):
        kind, labels = "integers", _as_int64(values, source)
    elif kinds.is_float_dtype(values):
        kind, labels = "floats", values.to_numpy(dtype=np.float64)
        if not np.isfinite(labels).all():
            raise BadInputError(f"{source}: column {column!r} (the target) holds infinite values.")
    elif values.map(lambda value: isinstance(value, str)).all():
        kind, labels = "strings", np.array(values.to_list(), dtype=str)
    else:
        raise BadInputError(
            f"{source}: column {column!r} (the target) holds {_described(values)}; a target holds strings, integers or "
            "booleans to classify, or floats."
        )
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


def _as_int64(values: pd.Series, source: str) -> np.ndarray:
    if int(values.max()) > np.iinfo(np.int64).max:
        raise BadInputError(f"{source}: column {values.name!r} (the target) holds integers beyond 64 bits.")
    return values.to_numpy(dtype=np.int64)


def _described(values: pd.Series) -> str:
    texts = list(dict.fromkeys(value[:30] for value in values if isinstance(value, str)))
    if texts:
        return "text such as " + ", ".join(map(repr, texts[:3]))
    return f"values of type {values.dtype}"


def _listed(table: pd.DataFrame, most: int = 20) -> str:
    names = [repr(name) for name in table.columns]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _content_hash(features: tuple[str, ...], target: str, rows: np.ndarray, truth: np.ndarray) -> str:
    header = {"features": features, "target": target, "shape": rows.shape, "truth": truth.tolist()}
    digest = hashlib.sha256(msgspec.json.encode(header))
    digest.update(np.ascontiguousarray(rows, dtype="<f8").tobytes())
    return digest.hexdigest()
