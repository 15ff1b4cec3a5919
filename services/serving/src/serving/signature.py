"""The inputs and outputs of a model, read from its `MLmodel` file (see docs/model-format.md)."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelformat.mlmodel import EXAMPLE_FILE, FormatError, Input, Label, Labels, Task, read_mlmodel
from serving.columns import LARGEST_NUMBER, Column, Value, column, with_metadata
from serving.errors import ModelUnusableError

_TENSOR_TYPES = {"float64": "double", "float32": "float", "int64": "long", "int32": "integer", "bool": "boolean"}


class ModelSpec(msgspec.Struct, frozen=True):
    """What is known about a model before it is loaded.

    `classes` are in the order of the probability columns, and empty for regression. `onnx_file` and `sklearn_file` are
    paths inside the model's folder, empty if the version does not have that form. `labels` says how the class of a row
    is found (see `serving.labels`).
    """

    task: Task
    columns: tuple[Column, ...]
    classes: tuple[Label, ...]
    target: str
    onnx_file: str
    sklearn_file: str
    sklearn_format: str
    labels: Labels = "largest"

    @property
    def mixed(self) -> bool:
        """Whether there is a column of text, so that a matrix of numbers cannot hold a row."""
        return any(column.kind == "category" for column in self.columns)

    def row_of(self, value: int) -> tuple[Value, ...]:
        """Return a row of one value that fits the signature, for models without an example."""
        return tuple(column.fitting(value) for column in self.columns)


def read_spec(folder: Path) -> ModelSpec:
    """Read the `MLmodel` file of a model's folder.

    Raises:
        ModelUnusableError: if it is missing, broken, or describes a model that cannot be served.
    """
    try:
        mlmodel = read_mlmodel(folder)
    except FormatError as error:
        raise ModelUnusableError(str(error)) from None
    metadata, flavors = mlmodel.metadata, mlmodel.flavors
    if metadata.task == "classification" and len(metadata.classes) < 2:
        raise ModelUnusableError("its MLmodel file names fewer than two classes in metadata.classes")
    columns = _columns(mlmodel.inputs)
    return ModelSpec(
        task=metadata.task,
        columns=columns if metadata.columns is None else with_metadata(columns, metadata.columns),
        classes=metadata.classes if metadata.task == "classification" else (),
        target=metadata.target,
        onnx_file=flavors.onnx.data if flavors.onnx else "",
        sklearn_file=flavors.sklearn.pickled_model if flavors.sklearn else "",
        sklearn_format=flavors.sklearn.serialization_format if flavors.sklearn else "",
        labels=metadata.labels if metadata.task == "classification" else "largest",
    )


def read_example(folder: Path, spec: ModelSpec) -> tuple[Value, ...] | None:
    """Read the first row of `input_example.json`, in any form that MLflow writes. None if no row fits."""
    try:
        document = json.loads((folder / EXAMPLE_FILE).read_text(encoding="utf-8"))
        row = msgspec.convert(_first_row(document, spec), list[Value])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    if len(row) != len(spec.columns):
        return None
    return tuple(_plain(value, one) for value, one in zip(row, spec.columns, strict=True))


def shortest(value: float) -> float:
    """Return a number that came from single precision with the digits that it had there: 5.1, not 5.0999999."""
    if abs(value) > LARGEST_NUMBER or np.float32(value) != value:
        return value
    return float(str(np.float32(value)))


def _plain(value: Value, one: Column) -> Value:
    """Return a value as people write it: null for pandas' NaN, and a time with its offset."""
    if one.kind == "datetime" and isinstance(value, str):
        return _with_offset(value)
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else shortest(value)


def _with_offset(text: str) -> str:
    """Return a time as RFC 3339, which `date-time` in a schema requires. MLflow writes UTC without an offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")


def _first_row(document: Any, spec: ModelSpec) -> Any:
    match document:
        case {"features": row} if not isinstance(row, dict):
            return row
        case {"features": dict(record)} | [dict(record), *_] | {"instances": [dict(record), *_]}:
            return _by_name(record, spec)
        case {"columns": columns, "data": [first, *_]}:
            return _by_name(dict(zip(columns, first, strict=True)), spec)
        case {"instances": [first, *_]} | {"inputs": [first, *_]} | [[*_] as first, *_]:
            return first
        case _:
            return document


def _by_name(record: dict[str, Any], spec: ModelSpec) -> list[Any]:
    return [record.get(each.name) if each.optional else record[each.name] for each in spec.columns]


def _columns(inputs: Sequence[Input]) -> tuple[Column, ...]:
    if len(inputs) == 1 and (tensor := inputs[0].tensor_spec):
        if len(tensor.shape) != 2 or tensor.shape[1] < 1:
            raise ModelUnusableError(
                f"its signature takes a tensor of shape {list(tensor.shape)}, but only rows can be served"
            )
        kind = _TENSOR_TYPES.get(tensor.dtype, tensor.dtype)
        return tuple(column(f"feature_{index}", kind) for index in range(tensor.shape[1]))
    if not inputs:
        raise ModelUnusableError("its signature has no inputs")
    return tuple(
        column(each.name or f"feature_{index}", each.type, optional=not each.required)
        for index, each in enumerate(inputs)
    )
