"""ONNX Runtime, set up for many small requests in one process: one thread, and only the outputs that are needed."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from modelformat.session import (
    LABEL,
    MATRIX,
    PREDICTION,
    PROBABILITIES,
    TEXT,
    Session,
    as_columns,
    column_input,
    open_session,
)
from serving.agreement import check_classes, check_width
from serving.columns import Column
from serving.decoding import Dtype, listed
from serving.errors import ModelUnusableError
from serving.labels import from_places
from serving.runtimes.base import Matrix, RuntimeOptions
from serving.runtimes.onnx_labels import graph_labels
from serving.signature import ModelSpec

_FLOATS: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_PLACES = "tensor(int64)"
_OUTPUTS = {"classification": PROBABILITIES, "regression": PREDICTION}


class OnnxRuntime:
    """An ONNX graph, of which only the outputs for the task are computed.

    Its input is one matrix `features`. With a column of text there is an input for each column instead: `column_0`,
    `column_1` and so on.
    """

    name = "onnx"

    def __init__(
        self,
        session: Session,
        outputs: list[str],
        dtypes: tuple[Dtype, ...],
        output_dtype: type[np.floating],
        classes: int,
    ) -> None:
        self.dtypes = dtypes
        self.output_dtype = output_dtype
        self._session = session
        self._outputs = outputs
        self._flat = outputs == [PREDICTION]
        self._labelled = LABEL in outputs
        self._classes = classes

    def run(self, features: Matrix) -> Matrix:
        """Compute one batch."""
        found = self._session.run(self._outputs, self._inputs(features))
        if self._labelled:
            return self._with_labels(found)
        result: Matrix = found[0]
        return result.reshape(-1) if self._flat and result.size == len(features) else result

    def _with_labels(self, found: list[Any]) -> Matrix:
        """Return the result in the form of `serving.labels` for models that name the class themselves."""
        named = found[-1].reshape(-1)
        if len(found) == 1:
            return from_places(named, self._classes)
        places = np.where((named >= 0) & (named < self._classes), named, np.nan).astype(self.output_dtype)
        result: Matrix = np.column_stack([found[0], places])
        return result

    def _inputs(self, features: Matrix) -> dict[str, Any]:
        return {MATRIX: features}


class ColumnsOnnxRuntime(OnnxRuntime):
    """An ONNX graph with an input for each column."""

    def _inputs(self, features: Matrix) -> dict[str, Any]:
        return as_columns(features, self.dtypes)


def open_onnx(folder: Path, spec: ModelSpec, _options: RuntimeOptions) -> OnnxRuntime:
    """Load the ONNX twin of a model version.

    Raises:
        ModelUnusableError: if the file is missing or broken, or its inputs and outputs are not as agreed.
    """
    path = folder / spec.onnx_file
    if not path.is_file():
        raise ModelUnusableError(f"its ONNX file {spec.onnx_file!r} is missing")
    try:
        session = open_session(path)
    except Exception as error:  # ONNX Runtime's errors have no other common base
        raise ModelUnusableError(f"its ONNX file cannot be loaded ({type(error).__name__})") from error
    outputs, output_dtype = _outputs(session, spec)
    dtypes = _of_columns(session, spec) if spec.mixed else _of_matrix(session, spec)
    check_classes(spec, graph_labels(path), "its ONNX graph")
    return (ColumnsOnnxRuntime if spec.mixed else OnnxRuntime)(
        session, outputs, dtypes, output_dtype, len(spec.classes)
    )


def _outputs(session: Session, spec: ModelSpec) -> tuple[list[str], type[np.floating]]:
    outputs = {entry.name: entry.type for entry in session.get_outputs()}
    if spec.labels != "largest" and outputs.get(LABEL) != _PLACES:
        raise ModelUnusableError(
            f"metadata.labels of its MLmodel file is {spec.labels}, so its ONNX graph must have an output `{LABEL}`, a "
            f"{_PLACES} of the classes' places, but it has {_listed(outputs)}"
        )
    if spec.labels == "only":
        return [LABEL], np.float32
    output, output_dtype = _output(session, spec)
    return [output] if spec.labels == "largest" else [output, LABEL], output_dtype


def _output(session: Session, spec: ModelSpec) -> tuple[str, type[np.floating]]:
    output = _OUTPUTS[spec.task]
    outputs = {entry.name: entry.type for entry in session.get_outputs()}
    if output not in outputs:
        raise ModelUnusableError(f"its ONNX graph must have an output `{output}`, but has {_listed(outputs)}")
    if outputs[output] not in _FLOATS:
        raise ModelUnusableError(
            f"the output `{output}` of its ONNX graph is a {outputs[output]}, but must be of floats"
        )
    return output, _FLOATS[outputs[output]]


def _of_matrix(session: Session, spec: ModelSpec) -> tuple[Dtype, ...]:
    """Check the input of a graph that takes all columns as one matrix."""
    inputs = {entry.name: entry for entry in session.get_inputs()}
    if set(inputs) != {MATRIX}:
        raise ModelUnusableError(
            f"its ONNX graph must have one input `{MATRIX}`, as no column is text, but has {_listed(inputs)}"
        )
    kind, shape = inputs[MATRIX].type, inputs[MATRIX].shape
    if kind not in _FLOATS:
        raise ModelUnusableError(f"the input of its ONNX graph is a {kind}, but must be of floats")
    # If a graph takes any number of columns, its width is a name and not a number.
    check_width(spec, shape[1] if len(shape) == 2 else None, "its ONNX graph")
    for column in spec.columns:
        _check_precision(column, kind, MATRIX)
    return (_FLOATS[kind],) * len(spec.columns)


def _of_columns(session: Session, spec: ModelSpec) -> tuple[Dtype, ...]:
    """Check the inputs of a graph that has one input for each column."""
    inputs = {entry.name: entry.type for entry in session.get_inputs()}
    expected = [column_input(index) for index in range(len(spec.columns))]
    if sorted(inputs) != sorted(expected):
        text = next(column.name for column in spec.columns if column.kind == "category")
        raise ModelUnusableError(
            f"its ONNX graph must have one input for each of its {len(expected)} columns ({_listed(expected)}), as "
            f"{text!r} is text, but has {_listed(inputs)}"
        )
    dtypes: list[Dtype] = []
    for name, column in zip(expected, spec.columns, strict=True):
        kind = inputs[name]
        if (kind == TEXT) != (column.kind == "category") or (kind != TEXT and kind not in _FLOATS):
            raise ModelUnusableError(
                f"the input `{name}` of its ONNX graph is a {kind}, but its column {column.name!r} is of kind "
                f"{column.kind}, which takes {TEXT if column.kind == 'category' else 'floats'}"
            )
        _check_precision(column, kind, name)
        dtypes.append(_FLOATS.get(kind, np.object_))
    return tuple(dtypes)


def _check_precision(column: Column, kind: str, name: str) -> None:
    if column.kind == "datetime" and kind != "tensor(double)":
        raise ModelUnusableError(
            f"its column {column.name!r} is a datetime, and a {kind} would round its seconds to minutes: the input "
            f"`{name}` of its ONNX graph must be a tensor(double)"
        )


def _listed(names: Collection[str]) -> str:
    return listed(names, most=10)
