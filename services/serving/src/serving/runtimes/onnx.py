"""ONNX Runtime, set up for many small requests in one process: one thread, and only the output that is needed."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

# ONNX Runtime's wheels for Linux report each model that is loaded to their maker, unless told not to before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from serving.agreement import check_classes, check_width
from serving.columns import Column
from serving.decoding import Dtype, listed
from serving.errors import ModelUnusableError
from serving.runtimes.base import Matrix, RuntimeOptions
from serving.runtimes.onnx_labels import graph_labels
from serving.signature import ModelSpec

_DTYPES: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_TEXT = "tensor(string)"
_OUTPUTS = {"classification": "probabilities", "regression": "prediction"}
_MATRIX = "features"


class OnnxRuntime:
    """An ONNX graph with the one output that the task asks for.

    Its input is one matrix `features`, or where a column is text one for each column, `column_0`, `column_1` and so on.
    """

    name = "onnx"

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        output: str,
        dtypes: tuple[Dtype, ...],
        output_dtype: type[np.floating],
    ) -> None:
        self.dtypes = dtypes
        self.output_dtype = output_dtype
        self._session = session
        self._outputs = [output]
        self._flat = output == "prediction"

    def run(self, features: Matrix) -> Matrix:
        """Computes one batch."""
        result: Matrix = self._session.run(self._outputs, self._inputs(features))[0]
        return result.reshape(-1) if self._flat and result.size == len(features) else result

    def _inputs(self, features: Matrix) -> dict[str, Any]:
        return {_MATRIX: features}


class ColumnsOnnxRuntime(OnnxRuntime):
    """An ONNX graph with an input for each column."""

    def _inputs(self, features: Matrix) -> dict[str, Any]:
        return {
            f"column_{index}": features[:, index : index + 1].astype(dtype) for index, dtype in enumerate(self.dtypes)
        }


def open_onnx(folder: Path, spec: ModelSpec, _options: RuntimeOptions) -> OnnxRuntime:
    """Loads the ONNX twin of a model version.

    Raises:
        ModelUnusableError: when the file is missing or broken, or its inputs and outputs are not the agreed ones.
    """
    path = folder / spec.onnx_file
    if not path.is_file():
        raise ModelUnusableError(f"its ONNX file {spec.onnx_file!r} is missing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise ModelUnusableError(f"its ONNX file cannot be loaded ({type(error).__name__})") from error
    output, output_dtype = _output(session, spec)
    dtypes = _of_columns(session, spec) if spec.mixed else _of_matrix(session, spec)
    check_classes(spec, graph_labels(path), "its ONNX graph")
    return (ColumnsOnnxRuntime if spec.mixed else OnnxRuntime)(session, output, dtypes, output_dtype)


def _output(session: onnxruntime.InferenceSession, spec: ModelSpec) -> tuple[str, type[np.floating]]:
    output = _OUTPUTS[spec.task]
    outputs = {entry.name: entry.type for entry in session.get_outputs()}
    if output not in outputs:
        raise ModelUnusableError(f"its ONNX graph must have an output `{output}`, but has {_listed(outputs)}")
    if outputs[output] not in _DTYPES:
        raise ModelUnusableError(
            f"the output `{output}` of its ONNX graph is a {outputs[output]}, but must be of floats"
        )
    return output, _DTYPES[outputs[output]]


def _of_matrix(session: onnxruntime.InferenceSession, spec: ModelSpec) -> tuple[Dtype, ...]:
    """Checks the input of a graph that takes all columns as one matrix."""
    inputs = {entry.name: entry for entry in session.get_inputs()}
    if set(inputs) != {_MATRIX}:
        raise ModelUnusableError(
            f"its ONNX graph must have one input `{_MATRIX}`, as no column is text, but has {_listed(inputs)}"
        )
    kind, shape = inputs[_MATRIX].type, inputs[_MATRIX].shape
    if kind not in _DTYPES:
        raise ModelUnusableError(f"the input of its ONNX graph is a {kind}, but must be of floats")
    # A graph that takes any number of columns has a name for it.
    check_width(spec, shape[1] if len(shape) == 2 else None, "its ONNX graph")
    for column in spec.columns:
        _check_precision(column, kind, _MATRIX)
    return (_DTYPES[kind],) * len(spec.columns)


def _of_columns(session: onnxruntime.InferenceSession, spec: ModelSpec) -> tuple[Dtype, ...]:
    """Checks the inputs of a graph that takes each column as an input of its own."""
    inputs = {entry.name: entry.type for entry in session.get_inputs()}
    expected = [f"column_{index}" for index in range(len(spec.columns))]
    if sorted(inputs) != sorted(expected):
        text = next(column.name for column in spec.columns if column.kind == "category")
        raise ModelUnusableError(
            f"its ONNX graph must have one input for each of its {len(expected)} columns ({_listed(expected)}), as "
            f"{text!r} is text, but has {_listed(inputs)}"
        )
    dtypes: list[Dtype] = []
    for name, column in zip(expected, spec.columns, strict=True):
        kind = inputs[name]
        if (kind == _TEXT) != (column.kind == "category") or (kind != _TEXT and kind not in _DTYPES):
            raise ModelUnusableError(
                f"the input `{name}` of its ONNX graph is a {kind}, but its column {column.name!r} is of kind "
                f"{column.kind}, which takes {_TEXT if column.kind == 'category' else 'floats'}"
            )
        _check_precision(column, kind, name)
        dtypes.append(_DTYPES.get(kind, np.object_))
    return tuple(dtypes)


def _check_precision(column: Column, kind: str, name: str) -> None:
    if column.kind == "datetime" and kind != "tensor(double)":
        raise ModelUnusableError(
            f"its column {column.name!r} is a datetime, whose seconds a {kind} would round by minutes: the input "
            f"`{name}` of its ONNX graph must be a tensor(double)"
        )


def _listed(names: Collection[str]) -> str:
    return listed(names, most=10)
