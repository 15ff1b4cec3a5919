"""scikit-learn, for versions without an ONNX twin. Needs the package extra `serving[sklearn]`.

A skops file names the types that it consists of. This module and SKOPS_TRUSTED_TYPES decide which of them may be
created, never the list of trusted types in the model itself.
"""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray

from modelformat.skops_types import TRUSTED_TYPES
from serving.agreement import check_classes, check_columns, check_width
from serving.errors import ModelUnusableError
from serving.labels import from_places, width
from serving.runtimes.base import ONE_OUTPUT, Matrix, RuntimeOptions
from serving.signature import ModelSpec

# An estimator that was fitted on a table warns at each prediction that a matrix has no column names. The order of the
# columns is checked once, when a version is opened.
warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)


class SklearnRuntime:
    """A fitted scikit-learn estimator."""

    name = "sklearn"
    output_dtype = np.float64

    def __init__(self, estimator: Any, spec: ModelSpec) -> None:
        self.dtypes = tuple(np.object_ if column.kind == "category" else np.float64 for column in spec.columns)
        self._compute = _computation(estimator, spec)
        self._no_answer = np.full((1, width(spec)) if spec.task == "classification" else (1,), np.nan)

    def run(self, features: Matrix) -> Matrix:
        """Compute one batch. NaN for rows that the estimator refuses, such as those whose logarithm is not finite."""
        try:
            result: Matrix = np.asarray(self._compute(features), dtype=np.float64)
        except ValueError:
            if len(features) == 1:
                return self._no_answer
            half = len(features) // 2
            return np.concatenate([self.run(features[:half]), self.run(features[half:])])
        return result


def _computation(estimator: Any, spec: ModelSpec) -> Callable[[Matrix], Any]:
    if spec.task == "regression":
        return lambda features: np.asarray(estimator.predict(features))
    if spec.labels == "largest":
        return lambda features: np.asarray(estimator.predict_proba(features))
    by_label = {label: place for place, label in enumerate(np.asarray(estimator.classes_).tolist())}

    def named(features: Matrix) -> NDArray[np.integer]:
        labels = np.asarray(estimator.predict(features)).reshape(-1).tolist()
        return np.array([by_label[label] for label in labels], dtype=np.int64)

    if spec.labels == "only":
        return lambda features: from_places(named(features), len(spec.classes))
    return lambda features: np.column_stack([estimator.predict_proba(features), named(features)])


def open_sklearn(folder: Path, spec: ModelSpec, options: RuntimeOptions) -> SklearnRuntime:
    """Load the scikit-learn form of a model version.

    Raises:
        ModelUnusableError: if the file is missing, broken, has types that are not trusted, or is a pickle that may not
            be run.
    """
    path = folder / spec.sklearn_file
    if not path.is_file():
        raise ModelUnusableError(f"its scikit-learn file {spec.sklearn_file!r} is missing")
    estimator = _load_skops(path, options) if spec.sklearn_format == "skops" else _load_pickle(path, spec, options)
    probable = spec.task == "classification" and spec.labels != "only"
    needed = "predict_proba" if probable else "predict"
    if not hasattr(estimator, needed):
        raise ModelUnusableError(f"its {type(estimator).__name__} has no {needed}, which {spec.task} needs")
    _refuse_names(estimator)
    what = f"its {type(estimator).__name__}"
    check_width(spec, getattr(estimator, "n_features_in_", None), what)
    check_columns(spec, getattr(estimator, "feature_names_in_", ()), what)
    classes = getattr(estimator, "classes_", ()) if spec.task == "classification" else ()
    if any(np.ndim(labels) for labels in classes):
        raise ModelUnusableError(f"{what} has several outputs, {ONE_OUTPUT}")
    check_classes(spec, classes, what)
    return SklearnRuntime(estimator, spec)


def _refuse_names(estimator: Any) -> None:
    """Refuse estimators that select columns by name. Only pandas tables have names, and serving does not use pandas."""
    for step in (estimator, *(step for _, step in getattr(estimator, "steps", ()))):
        for _, _, columns in getattr(step, "transformers_", ()):
            if isinstance(columns, str) or any(isinstance(column, str) for column in np.atleast_1d(columns)):
                raise ModelUnusableError(
                    f"its {type(step).__name__} picks columns by name, which needs a table of pandas: fit it on "
                    "arrays, with columns by position, or register its ONNX twin"
                )


def _load_skops(path: Path, options: RuntimeOptions) -> Any:
    trusted = TRUSTED_TYPES | options.extra_trusted_types
    try:
        untrusted = sorted(set(skops.io.get_untrusted_types(file=path)) - trusted)
    except Exception as error:  # a broken file fails in zipfile, json or skops, each with other errors
        raise ModelUnusableError(f"its skops file cannot be read ({type(error).__name__})") from error
    if untrusted:
        raise ModelUnusableError(
            f"its skops file has types that are not trusted: {', '.join(untrusted)}; if you know that they are "
            "harmless, name them in SKOPS_TRUSTED_TYPES (the chart's settings.skopsTrustedTypes)"
        )
    try:
        return skops.io.load(path, trusted=sorted(trusted))
    except Exception as error:  # as above
        raise ModelUnusableError(f"its skops file cannot be loaded ({type(error).__name__})") from error


def _load_pickle(path: Path, spec: ModelSpec, options: RuntimeOptions) -> Any:
    if not options.trust_pickle:
        raise ModelUnusableError(
            f"it is saved only as {spec.sklearn_format}, which can run any code when loaded, so it is refused; save it "
            "with skops or register its ONNX twin, or set PICKLE_MODELS=trust-and-run if you trust its author"
        )
    try:
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301  (only after PICKLE_MODELS=trust-and-run)
    except Exception as error:  # unpickling runs code, which may raise any error
        raise ModelUnusableError(f"its pickle cannot be loaded ({type(error).__name__}: {error})") from error
