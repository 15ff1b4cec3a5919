"""LightGBM, XGBoost and CatBoost: how they are imported, which labels they learn, and their ONNX forms."""

import contextlib
import copy
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from training.errors import BadInputError
from training.settings import Label

# The types that skops may construct. Each of them reads the package's own format of trees.
TRUSTED_TYPES = (
    "catboost.core.CatBoostClassifier",
    "catboost.core.CatBoostRegressor",
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)
_PACKAGES = ("catboost", "lightgbm", "xgboost")
# By package: the module of onnxmltools that has its converter, and the beginning of its estimators' names.
_CONVERTERS = {
    "lightgbm": ("lightgbm.operator_converters.LightGbm", "LGBM"),
    "xgboost": ("xgboost.operator_converters.XGBoost", "XGB"),
}
_THRESHOLDS = re.compile(r"^threshold=(.*)$", re.MULTILINE)


def package_of(estimator: object) -> str:
    """Return the package of an estimator, if it is one of these; empty for all others."""
    return _package(type(estimator))


def _package(kind: type) -> str:
    package = kind.__module__.partition(".")[0]
    return package if package in _PACKAGES else ""


def loaded(name: str) -> Callable[..., BaseEstimator]:
    """Return an estimator's class by module and name, such as `lightgbm.LGBMClassifier`.

    Raises:
        BadInputError: The package is not installed.
    """
    module, _, kind = name.partition(".")
    try:
        found: Callable[..., BaseEstimator] = getattr(importlib.import_module(module), kind)
    except (ImportError, OSError) as error:
        raise BadInputError(f"--model: {module} is not installed: pip install 'training[boosting]'.") from error
    return found


def is_refusal(error: Exception) -> bool:
    """Return whether an estimator refuses parameters or rows by an error; some packages have their own types of it."""
    own = type(error).__module__.partition(".")[0].lstrip("_") in _PACKAGES
    return own or isinstance(error, ValueError | TypeError | OverflowError)


def learnt_truth(pipeline: Pipeline, truth: np.ndarray, classes: Sequence[Label]) -> np.ndarray:
    """Return the truth that a pipeline learns: positions of labels for these packages, which do not take all labels."""
    if classes and package_of(pipeline[-1]):
        return np.searchsorted(np.asarray(classes), truth)
    return truth


def predicted_labels(pipeline: Pipeline, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the labels that a pipeline predicts, shape [rows]."""
    found = np.asarray(pipeline.predict(rows)).reshape(len(rows))
    return labels[found.astype(np.int64)] if package_of(pipeline[-1]) else found


def converted() -> Iterator[type]:
    """Yield the estimators that `register_converter` is for, of the packages that are installed."""
    for package, (_, prefix) in _CONVERTERS.items():
        with contextlib.suppress(ImportError):
            module = importlib.import_module(package)
            yield from (getattr(module, prefix + task) for task in ("Classifier", "Regressor"))


def register_converter(estimator: type) -> None:
    """Register the converter of a LightGBM or XGBoost estimator with skl2onnx; others need none.

    Args:
        estimator: Its class, which may also be a special or a derived one, such as XGBRFClassifier.

    Raises:
        ImportError: onnxmltools is not installed.
    """
    package = _package(estimator)
    if package not in _CONVERTERS:
        return
    from skl2onnx import update_registered_converter  # noqa: PLC0415 # only where there is such a model
    from skl2onnx.common import shape_calculator as shapes  # noqa: PLC0415

    convert = getattr(importlib.import_module(f"onnxmltools.convert.{_CONVERTERS[package][0]}"), f"convert_{package}")
    if hasattr(estimator, "predict_proba"):
        options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
        calculate = shapes.calculate_linear_classifier_output_shapes
    else:
        options, calculate = {}, shapes.calculate_linear_regressor_output_shapes
    name = f"Booster{estimator.__name__}"
    update_registered_converter(estimator, name, calculate, convert, overwrite=True, options=options)


def ready_to_convert(estimator: Any, rounded_down: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Return LightGBM's trees with thresholds that decide alike in float32 and float64; others as they are."""
    if package_of(estimator) != "lightgbm":
        return estimator

    def rounded(line: re.Match[str]) -> str:
        values = rounded_down(np.array(line[1].split(), dtype=np.float64))
        return "threshold=" + " ".join(repr(float(value)) for value in values)

    ready = copy.deepcopy(estimator)
    booster = importlib.import_module("lightgbm").Booster
    # This line gives the length of each tree's text. It would now be wrong, and is optional.
    text = re.sub(r"^tree_sizes=.*\n", "", estimator.booster_.model_to_string(), flags=re.MULTILINE)
    ready._Booster = booster(model_str=_THRESHOLDS.sub(rounded, text))  # LightGBM has no public way to replace it
    return ready


def catboost_graph(estimator: Any, read: str, width: int, *, classifier: bool) -> onnx.ModelProto:
    """Return CatBoost's own ONNX form of a model, with one input and one output, named as `to_onnx` names them."""
    graph: onnx.ModelProto = importlib.import_module("catboost.utils").convert_to_onnx_object(estimator)
    (trees,) = (node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble"))
    name = "probabilities" if classifier else "prediction"
    trees.input[0], trees.output[-1] = read, name
    del graph.graph.node[:], graph.graph.input[:], graph.graph.output[:]
    graph.graph.node.append(trees)
    graph.graph.input.append(helper.make_tensor_value_info(read, TensorProto.FLOAT, [None, width]))
    columns = len(estimator.classes_) if classifier else 1
    graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, columns]))
    # They include the time of training, which would change the digest.
    del graph.metadata_props[:]
    graph.ir_version = 8
    return graph
