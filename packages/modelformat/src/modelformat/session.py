"""The one way in which a model's ONNX graph is opened and fed: the gate judges what serving runs (extra `onnx`)."""

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# ONNX Runtime's wheels for Linux report each model that is loaded to their maker, unless told not to before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

# To be had from here, so that whoever needs it imports it after the line above.
Session: TypeAlias = onnxruntime.InferenceSession
# The one input of a graph that takes no text, and the outputs.
MATRIX = "features"
PROBABILITIES = "probabilities"
PREDICTION = "prediction"
LABEL = "label"
# What each type of input takes.
DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": np.object_,
}  # fmt: skip
TEXT = "tensor(string)"


def column_input(index: int) -> str:
    """The name of a column's input in a graph that has one for each column."""
    return f"column_{index}"


def open_session(model: Path | bytes) -> Session:
    """Load a graph for many small requests in one process: one thread, one after the other.

    Raises:
        Exception: It cannot be loaded; ONNX Runtime's errors have no narrower base in common.
    """
    options = onnxruntime.SessionOptions()
    # One row is too little work to share between threads.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model
    return Session(source, options, providers=["CPUExecutionProvider"])


def as_columns(rows: NDArray[Any], dtypes: tuple[Any, ...]) -> dict[str, NDArray[Any]]:
    """Rows as what a graph with an input for each column takes.

    Args:
        rows: Shape [rows, columns], of numbers or, with text, objects.
        dtypes: What each input takes.
    """
    return {column_input(index): rows[:, index : index + 1].astype(dtype) for index, dtype in enumerate(dtypes)}
