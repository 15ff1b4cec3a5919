"""ONNX Runtime, set up for many small requests in one process: one thread, and only the output that is needed."""

import os
from pathlib import Path

import numpy as np

# ONNX Runtime's wheels for Linux report each model that is loaded to their maker, unless told not to before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from serving.agreement import check_classes, check_width
from serving.errors import ModelUnusableError
from serving.runtimes.base import Matrix, RuntimeOptions
from serving.runtimes.onnx_labels import graph_labels
from serving.signature import ModelSpec

_DTYPES: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_OUTPUTS = {"classification": "probabilities", "regression": "prediction"}


class OnnxRuntime:
    """An ONNX graph with the input `features` and the output that the task asks for."""

    name = "onnx"

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        output: str,
        dtype: type[np.floating],
        output_dtype: type[np.floating],
    ) -> None:
        self.dtype = dtype
        self.output_dtype = output_dtype
        self._session = session
        self._outputs = [output]
        self._flat = output == "prediction"

    def run(self, features: Matrix) -> Matrix:
        """Computes one batch."""
        result: Matrix = self._session.run(self._outputs, {"features": features})[0]
        return result.reshape(-1) if self._flat else result


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
    inputs = {entry.name: entry.type for entry in session.get_inputs()}
    output = _OUTPUTS[spec.task]
    outputs = {entry.name: entry.type for entry in session.get_outputs()}
    if set(inputs) != {"features"} or output not in outputs:
        raise ModelUnusableError(f"its ONNX graph must have one input `features` and an output `{output}`")
    if inputs["features"] not in _DTYPES:
        raise ModelUnusableError(f"the input of its ONNX graph is a {inputs['features']}, but must be of floats")
    if outputs[output] not in _DTYPES:
        raise ModelUnusableError(
            f"the output `{output}` of its ONNX graph is a {outputs[output]}, but must be of floats"
        )
    check_width(spec, _width(session), "its ONNX graph")
    check_classes(spec, graph_labels(path), "its ONNX graph")
    return OnnxRuntime(session, output, _DTYPES[inputs["features"]], _DTYPES[outputs[output]])


def _width(session: onnxruntime.InferenceSession) -> object:
    """The number of columns that a graph takes; something else where it takes any."""
    shape = session.get_inputs()[0].shape
    return shape[1] if len(shape) == 2 else None
