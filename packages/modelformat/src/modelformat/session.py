"""How ONNX graphs are opened and fed, in one place, so that the gate judges what serving runs (extra `onnx`)."""

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Before the import: by default, ONNX Runtime's wheels for Linux report each loaded model to their vendor.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

# Import the type from here, so that the line above always comes first.
Session: TypeAlias = onnxruntime.InferenceSession
# The only input of a graph without text, and the outputs.
MATRIX = "features"
PROBABILITIES = "probabilities"
PREDICTION = "prediction"
LABEL = "label"
# The NumPy type for each type of input.
DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": np.object_,
}  # fmt: skip
TEXT = "tensor(string)"


def column_input(index: int) -> str:
    """Return the name of a column's input, in a graph with one input for each column."""
    return f"column_{index}"


def open_session(model: Path | bytes) -> Session:
    """Load a graph for many small requests in one process: they run in one thread, one after the other.

    Raises:
        Exception: It cannot be loaded; ONNX Runtime's errors have no narrower common base class.
    """
    options = onnxruntime.SessionOptions()
    # One row is too little work for several threads.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model
    return Session(source, options, providers=["CPUExecutionProvider"])


def as_columns(rows: NDArray[Any], dtypes: tuple[Any, ...]) -> dict[str, NDArray[Any]]:
    """Return rows as the inputs of a graph with one input for each column.

    Args:
        rows: Shape [rows, columns], of numbers or, with text, objects.
        dtypes: The type of each input.
    """
    return {column_input(index): rows[:, index : index + 1].astype(dtype) for index, dtype in enumerate(dtypes)}
