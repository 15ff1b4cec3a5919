"""What the protocol's tensors are to a model: its rows as inputs, its predictions as outputs.

A model takes its rows in either of two forms: as one tensor `features` of shape [rows, columns], or as one tensor a
column, named like it, of shape [rows] or [rows, 1].
"""

from typing import Any

import msgspec
import numpy as np

from serving.errors import FieldError, InvalidInputError
from serving.loader import LoadedModel
from serving.openinference.tensors import Array
from serving.runtimes.base import Matrix
from serving.signature import LARGEST_NUMBER, Column, ModelSpec

FEATURES = "features"
PREDICTION = "prediction"
PROBABILITIES = "probabilities"

_PLATFORMS = {"onnx": "onnxruntime_onnx", "sklearn": "sklearn_sklearn"}
_COLUMN_DATATYPES = {"double": "FP64", "float": "FP32", "long": "INT64", "integer": "INT32", "boolean": "BOOL"}
_LABEL_FORMS: dict[type, tuple[str, type]] = {
    str: ("BYTES", object),
    int: ("INT64", np.int64),
    bool: ("BOOL", bool),
}
_ANY_ROWS = -1


class TensorMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tensor that a model takes or gives; a size of -1 is any."""

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
    """Describes a model. Columns of one type are told as one tensor, columns of several as a tensor each.

    Where a column is called `features`, a tensor of that name is this column, so that there is a tensor for each.
    """
    return ModelMetadata(
        name=model.name,
        versions=versions,
        platform=_PLATFORMS[model.runtime.name],
        inputs=_inputs(model.spec),
        outputs=_outputs(model),
    )


def _inputs(spec: ModelSpec) -> list[TensorMetadata]:
    datatypes = [_COLUMN_DATATYPES[column.type] for column in spec.columns]
    if len(set(datatypes)) == 1 and _takes_whole(spec):
        names = {"columns": [column.name for column in spec.columns]}
        return [TensorMetadata(FEATURES, datatypes[0], [_ANY_ROWS, len(datatypes)], names)]
    return [
        TensorMetadata(column.name, datatype, [_ANY_ROWS, 1])
        for column, datatype in zip(spec.columns, datatypes, strict=True)
    ]


def _takes_whole(spec: ModelSpec) -> bool:
    """Whether `features` may be the tensor of all columns."""
    return all(column.name != FEATURES for column in spec.columns)


def _outputs(model: LoadedModel) -> list[TensorMetadata]:
    number = "FP32" if model.runtime.output_dtype is np.float32 else "FP64"
    classes = model.spec.classes
    if not classes:
        return [TensorMetadata(PREDICTION, number, [_ANY_ROWS])]
    label, _ = _label_form(model.spec)
    return [
        TensorMetadata(PREDICTION, label, [_ANY_ROWS]),
        TensorMetadata(PROBABILITIES, number, [_ANY_ROWS, len(classes)], {"classes": list(classes)}),
    ]


def example(model: LoadedModel) -> dict[str, Any]:
    """Makes a request for one row that can be sent as it is."""
    if any(column.kind == "boolean" for column in model.spec.columns) or not _takes_whole(model.spec):
        named = zip(model.spec.columns, model.example, strict=True)
        return {"inputs": [_tensor(column.name, _COLUMN_DATATYPES[column.type], [1], [v]) for column, v in named]}
    return {"inputs": [_tensor(FEATURES, "FP64", [1, len(model.example)], list(model.example))]}


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def rows(model: LoadedModel, tensors: dict[str, Array]) -> Matrix:
    """Makes the matrix [rows, columns] that the model computes with.

    Raises:
        InvalidInputError: naming each tensor, or its first value, that does not fit.
    """
    spec, dtype = model.spec, model.runtime.dtype
    whole = FEATURES in tensors and _takes_whole(spec)
    matrix = (_from_matrix if whole else _from_columns)(spec, tensors, dtype)
    if not len(matrix):
        raise _wrong("inputs", "expected at least one row")
    return matrix


def _from_matrix(spec: ModelSpec, tensors: dict[str, Array], dtype: type[np.floating]) -> Matrix:
    matrix, width = tensors[FEATURES], len(spec.columns)
    if len(tensors) > 1:
        others = ", ".join(repr(name[:100]) for name in tensors if name != FEATURES)
        raise _wrong("inputs", f"{FEATURES!r} holds all columns, so there is no place for {others}")
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise _wrong(_field(FEATURES), f"expected shape [rows, {width}], got {list(matrix.shape)}")
    if not (spec.only_numbers and matrix.dtype != bool and _within(matrix, -LARGEST_NUMBER, LARGEST_NUMBER)):
        _raise_if_any([_mismatch(column, matrix[:, i], FEATURES) for i, column in enumerate(spec.columns)])
    return np.require(matrix, dtype, ["C", "A"])


def _from_columns(spec: ModelSpec, tensors: dict[str, Array], dtype: type[np.floating]) -> Matrix:
    known = {column.name for column in spec.columns}
    unknown = [name for name in tensors if name not in known]
    absent = [column.name for column in spec.columns if column.name not in tensors]
    if unknown or absent:
        names = ", ".join(repr(column.name) for column in spec.columns)
        instead = f"{FEATURES!r}, or " if _takes_whole(spec) else ""
        what = f"unknown tensor {unknown[0][:100]!r}" if unknown else f"the tensor {absent[0]!r} is missing"
        raise _wrong("inputs", f"{what}; expected {instead}one tensor for each of {names}")
    lengths = {tensor.shape[0] for tensor in tensors.values()}
    if len(lengths) > 1:
        raise _wrong("inputs", f"the tensors have different numbers of rows: {sorted(lengths)}")
    columns = [_one_column(column, tensors[column.name]) for column in spec.columns]
    _raise_if_any(
        [_mismatch(column, values, column.name) for column, values in zip(spec.columns, columns, strict=True)]
    )
    return np.stack([values.astype(dtype) for values in columns], axis=1)


def _one_column(column: Column, values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] != 1:
        raise _wrong(_field(column.name), f"expected shape [rows] or [rows, 1], got {list(values.shape)}")
    return values.reshape(-1)


def _mismatch(column: Column, values: Array, tensor: str) -> FieldError | None:
    """Says which value of a column does not fit it, if one does not."""
    if column.kind == "boolean":
        fits, expected = (values == 0) | (values == 1), "true or false"
    elif values.dtype == bool:
        fits, expected = np.zeros(len(values), dtype=bool), "a number, not a BOOL"
    else:
        fits = (values >= column.low) & (values <= column.high)
        expected = f"a number between {column.low} and {column.high}"
        if column.kind == "integer" and values.dtype.kind == "f":
            fits &= np.isfinite(values) & (np.trunc(values) == values)
            expected = f"a whole number between {column.low} and {column.high}"
    if fits.all():
        return None
    return FieldError(_field(tensor), f"expected {expected} in row {int(fits.argmin())} (column {column.name!r})")


def _within(values: Array, low: float, high: float) -> bool:
    """Whether all values lie between two bounds; a NaN does not."""
    return not values.size or bool(values.min() >= low and values.max() <= high)


def outputs(model: LoadedModel, result: Matrix) -> dict[str, Array]:
    """Names what a model gave for some rows."""
    if not model.spec.classes:
        return {PREDICTION: result}
    _, dtype = _label_form(model.spec)
    labels: Array = np.array(model.spec.classes, dtype=dtype)
    return {PREDICTION: labels[result.argmax(axis=1)], PROBABILITIES: result}


def _label_form(spec: ModelSpec) -> tuple[str, type]:
    """How the classes travel: as their own type if they have one, else as text."""
    kinds = {type(label) for label in spec.classes}
    return _LABEL_FORMS[kinds.pop() if len(kinds) == 1 else str]


def _field(tensor: str) -> str:
    return f"inputs[{tensor!r}]"


def _raise_if_any(errors: list[FieldError | None]) -> None:
    found = [error for error in errors if error]
    if found:
        raise InvalidInputError(*found[:10])


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
