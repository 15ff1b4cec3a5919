"""The interface of a runtime, and the choice of one for a model version."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.decoding import Dtype
from serving.errors import ModelUnusableError
from serving.signature import ModelSpec

# The reason why a model with several outputs is refused.
ONE_OUTPUT = "but only one can be served: register a model for each of them"

Matrix = NDArray[np.floating[Any]]


class Runtime(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """Its name in settings, metrics and answers."""
        ...

    @property
    def dtypes(self) -> tuple[Dtype, ...]:
        """The dtype of each column."""
        ...

    @property
    def output_dtype(self) -> type[np.floating[Any]]:
        """The dtype of its output, which may differ from its inputs'."""
        ...

    def run(self, features: Matrix) -> Matrix:
        """Compute probabilities [rows, classes], or predicted numbers [rows], from features [rows, columns].

        With a column of text, the features are an array of objects: Python floats and strings.
        """
        ...


class RuntimeOptions(msgspec.Struct, frozen=True):
    """Which runtime to use, and what scikit-learn may load."""

    prefer: Literal["auto", "onnx", "sklearn"] = "auto"
    trust_pickle: bool = False
    extra_trusted_types: frozenset[str] = frozenset()


def choose_runtime(spec: ModelSpec, options: RuntimeOptions) -> Literal["onnx", "sklearn"]:
    """Return the best installed runtime that a version supports, without importing any.

    Raises:
        ModelUnusableError: if there is none. The message says what would help.
    """
    if spec.onnx_file and options.prefer != "sklearn":
        return "onnx"
    if options.prefer == "onnx":
        raise ModelUnusableError("it has no ONNX twin, and RUNTIME is onnx; RUNTIME=auto would try scikit-learn")
    if not spec.sklearn_file:
        raise ModelUnusableError("it has neither an onnx nor a sklearn flavor, and other flavors cannot be served")
    if find_spec("sklearn") is None or find_spec("skops") is None:
        raise ModelUnusableError(
            "it needs scikit-learn, which is not installed here: use the image built with `--target sklearn` (the "
            "package extra `serving[sklearn]`), or register it with its ONNX twin"
        )
    return "sklearn"


def opener(runtime: str) -> Callable[[Path, ModelSpec, RuntimeOptions], Runtime]:
    """Import a runtime, and return the function that loads a version's model with it."""
    if runtime == "onnx":
        from serving.runtimes.onnx import open_onnx  # noqa: PLC0415  (40 MB, not needed by other versions)

        return open_onnx
    from serving.runtimes.sklearn import open_sklearn  # noqa: PLC0415  (an extra, absent in one of the images)

    return open_sklearn


def open_runtime(folder: Path, spec: ModelSpec, options: RuntimeOptions) -> Runtime:
    """Load a version's model with the runtime that `choose_runtime` names.

    Raises:
        ModelUnusableError: if it cannot be loaded. The message says what would help.
    """
    return opener(choose_runtime(spec, options))(folder, spec, options)
