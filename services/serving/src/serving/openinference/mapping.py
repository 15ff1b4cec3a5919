"""Describes a model in terms of the protocol: the tensors of its inputs and outputs, and its predictions."""

from typing import Any

import msgspec
import numpy as np

from serving.columns import Column, Value
from serving.labels import places
from serving.loader import LoadedModel
from serving.openinference.rows import FEATURES, datatype_of_column, takes_whole
from serving.openinference.tensors import Array
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec

PREDICTION = "prediction"
PROBABILITIES = "probabilities"

_PLATFORMS = {"onnx": "onnxruntime_onnx", "sklearn": "sklearn_sklearn"}
_LABEL_FORMS: dict[type, tuple[str, type]] = {
    str: ("BYTES", object),
    int: ("INT64", np.int64),
    bool: ("BOOL", bool),
}
_ANY_ROWS = -1


class TensorMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tensor that a model takes or returns. A size of -1 means any size."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model as the protocol describes it."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def metadata(model: LoadedModel, versions: list[str]) -> ModelMetadata:
    """Describe a model. Columns of one type are one tensor; columns of several types are a tensor each.

    If a column has the name `features`, a tensor of that name means this column, so there is a tensor for each column.
    """
    return ModelMetadata(
        name=model.name,
        versions=versions,
        platform=_PLATFORMS[model.runtime.name],
        inputs=_inputs(model.spec),
        outputs=_outputs(model),
    )


def _inputs(spec: ModelSpec) -> list[TensorMetadata]:
    datatypes = [datatype_of_column(column) for column in spec.columns]
    if len(set(datatypes)) == 1 and takes_whole(spec):
        names = {"columns": [column.name for column in spec.columns]}
        return [TensorMetadata(FEATURES, datatypes[0], [_ANY_ROWS, len(datatypes)], names)]
    return [
        TensorMetadata(column.name, datatype, [_ANY_ROWS, 1])
        for column, datatype in zip(spec.columns, datatypes, strict=True)
    ]


def _outputs(model: LoadedModel) -> list[TensorMetadata]:
    number = "FP32" if model.runtime.output_dtype is np.float32 else "FP64"
    classes = model.spec.classes
    if not classes:
        return [TensorMetadata(PREDICTION, number, [_ANY_ROWS])]
    label, _ = _label_form(model.spec)
    prediction = TensorMetadata(PREDICTION, label, [_ANY_ROWS])
    if model.spec.labels == "only":
        return [prediction]
    return [
        prediction,
        TensorMetadata(PROBABILITIES, number, [_ANY_ROWS, len(classes)], {"classes": list(classes)}),
    ]


def example(model: LoadedModel) -> dict[str, Any]:
    """Return a valid request for one row."""
    columns, values = model.spec.columns, model.example
    plain = not any(isinstance(value, bool | str | None) for value in values)
    if plain and takes_whole(model.spec):
        return {"inputs": [_tensor(FEATURES, "FP64", [1, len(values)], list(values))]}
    return {"inputs": [_column_tensor(column, value) for column, value in zip(columns, values, strict=True)]}


def _column_tensor(column: Column, value: Value) -> dict[str, Any]:
    # A date is sent as text, as people write it.
    datatype = {str: "BYTES", bool: "BOOL"}.get(type(value)) or datatype_of_column(column)
    return _tensor(column.name, datatype, [1, 1], [value])


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def outputs(model: LoadedModel, result: Matrix) -> dict[str, Array]:
    """Return the results for some rows, by the names of the outputs."""
    if not model.spec.classes:
        return {PREDICTION: result}
    _, dtype = _label_form(model.spec)
    labels: Array = np.array(model.spec.classes, dtype=dtype)
    prediction = labels[places(result, len(labels))]
    if model.spec.labels == "only":
        return {PREDICTION: prediction}
    return {PREDICTION: prediction, PROBABILITIES: result[:, : len(labels)]}


def _label_form(spec: ModelSpec) -> tuple[str, type]:
    """Return the datatype of the classes: their own type if there is one for all of them, otherwise text."""
    kinds = {type(label) for label in spec.classes}
    return _LABEL_FORMS[kinds.pop() if len(kinds) == 1 else str]
