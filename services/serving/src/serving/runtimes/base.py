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

# Why a model of several outputs is refused.
ONE_OUTPUT = "but only one can be served: register a model for each of them"

Matrix = NDArray[np.floating[Any]]


class Runtime(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """What it is called in settings, metrics and answers."""
        ...

    @property
    def dtypes(self) -> tuple[Dtype, ...]:
        """What it computes with, for each column."""
        ...

    @property
    def output_dtype(self) -> type[np.floating[Any]]:
        """What its output is made of, which its input does not tell."""
        ...

    def run(self, features: Matrix) -> Matrix:
        """Computes probabilities [rows, classes], or predicted numbers [rows], from features [rows, columns].

        Where there is a column of text, the features are Python's floats and strings in an array of objects.
        """
        ...


class RuntimeOptions(msgspec.Struct, frozen=True):
    """Which runtime to use, and what may be loaded into scikit-learn."""

    prefer: Literal["auto", "onnx", "sklearn"] = "auto"
    trust_pickle: bool = False
    extra_trusted_types: frozenset[str] = frozenset()


def choose_runtime(spec: ModelSpec, options: RuntimeOptions) -> Literal["onnx", "sklearn"]:
    """Names the best runtime that a version allows and that is installed, before any is imported.

    Raises:
        ModelUnusableError: when there is none; the message says what would help.
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
    """Imports a runtime, and gives what loads a version's model with it."""
    if runtime == "onnx":
        from serving.runtimes.onnx import open_onnx  # noqa: PLC0415  (40 MB, not needed by other versions)

        return open_onnx
    from serving.runtimes.sklearn import open_sklearn  # noqa: PLC0415  (an extra, absent in one of the images)

    return open_sklearn


def open_runtime(folder: Path, spec: ModelSpec, options: RuntimeOptions) -> Runtime:
    """Loads a version's model with the runtime that `choose_runtime` names.

    Raises:
        ModelUnusableError: when it cannot be loaded; the message says what would help.
    """
    return opener(choose_runtime(spec, options))(folder, spec, options)
