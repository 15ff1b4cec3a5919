"""A graph's output `label`: the place of the class that the model names, int64."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import Perceptron, RidgeClassifier, RidgeClassifierCV
from sklearn.svm import LinearSVC

from training.labels import Threshold

BY_THRESHOLD = "label_by_threshold"


def plain_outputs(estimator: Any) -> dict[Any, Any]:
    """Return skl2onnx's option that makes a classifier give a matrix of probabilities, not maps."""
    # The option would also reach the members of an ensemble, and a LinearSVC refuses it.
    if any(isinstance(member, LinearSVC) for member in getattr(estimator, "estimators_", ())):
        return {id(estimator): {"zipmap": False}}
    return {"zipmap": False}


def convertible(estimator: Any) -> Any:
    """Return a fitted linear classifier of scores in a form that skl2onnx always converts; others as they are.

    All of them name the class with the highest linear score, so equal coefficients give equal labels.
    """
    if not isinstance(estimator, LinearSVC | RidgeClassifier | RidgeClassifierCV):
        return estimator
    lines = Perceptron()
    lines.coef_, lines.intercept_ = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    lines.classes_, lines.n_features_in_ = np.array(estimator.classes_), estimator.n_features_in_
    return lines


def add_threshold(graph: onnx.ModelProto, scores: str, threshold: Threshold) -> str:
    """Compare the probability of one of two classes with a threshold.

    Returns:
        The name of the new value, which is not an output yet.
    """
    dtype = np.float64 if type_of(graph, scores) == TensorProto.DOUBLE else np.float32
    column = numpy_helper.from_array(np.array(threshold.positive, dtype=np.int64), "positive_place")
    value = numpy_helper.from_array(np.array(threshold.value, dtype=dtype), "threshold")
    yes = numpy_helper.from_array(np.array(threshold.positive, dtype=np.int64), "positive")
    no = numpy_helper.from_array(np.array(1 - threshold.positive, dtype=np.int64), "negative")
    graph.graph.initializer.extend([column, value, yes, no])
    graph.graph.node.extend(
        [
            helper.make_node("Gather", [scores, "positive_place"], ["positive_score"], "pick_positive", axis=1),
            helper.make_node("GreaterOrEqual", ["positive_score", "threshold"], ["is_positive"], "compare"),
            helper.make_node("Where", ["is_positive", "positive", "negative"], [BY_THRESHOLD], "decide"),
        ]
    )
    return BY_THRESHOLD


def type_of(graph: onnx.ModelProto, name: str) -> int:
    """Return the element type of a value; float if the graph does not say."""
    for value in (*graph.graph.output, *graph.graph.value_info):
        if value.name == name:
            found: int = value.type.tensor_type.elem_type
            return found
    if name in {BY_THRESHOLD, "label_place"}:
        return int(TensorProto.INT64)
    return int(TensorProto.FLOAT)
