"""How a classifier names a class: mostly by the largest probability, but thresholds and scores decide as well.

The answers of a classifier are called scores here. Their shape is [rows, columns], and their width says what they hold:
as many columns as classes are probabilities, and the likeliest class is named. One more column is the place of the
class that the model itself names (`labels: predicted`). A single column is that place alone (`labels: only`), for a
model without probabilities.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from sklearn.pipeline import Pipeline

from modelformat.mlmodel import Label, Labels

_OF_SCORES = ("SVC", "NuSVC", "LinearSVC")
_THRESHOLDS = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")


class Threshold(Struct, frozen=True):
    """The threshold of a classifier of two classes: if its score reaches `value`, it names the class at `positive`."""

    positive: int
    value: float
    of_probability: bool


def places(scores: np.ndarray, classes: int) -> np.ndarray:
    """Return the place of the class that is named for each row, shape [rows]."""
    named: np.ndarray = scores.argmax(axis=1) if scores.shape[1] == classes else scores[:, -1].astype(np.int64)
    return named


def places_of(labels: np.ndarray, classes: Sequence[Label]) -> np.ndarray:
    """Return the places of labels among the classes, shape [rows]; -1 for an unknown label."""
    known = {label: place for place, label in enumerate(classes)}
    return np.array([known.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def probabilities(scores: np.ndarray, classes: int) -> np.ndarray | None:
    """Return the probabilities among scores, shape [rows, classes]; None if there are none."""
    return scores[:, :classes] if scores.shape[1] >= classes else None


def shares(scores: np.ndarray, classes: int) -> np.ndarray:
    """Return the probabilities; if there are none, 1 for the class that is named and 0 for the others."""
    found = probabilities(scores, classes)
    one: np.ndarray = np.eye(classes)[places(scores, classes)] if found is None else found
    return one


def rule_of(model: Any, probable: np.ndarray | None, named: np.ndarray) -> Labels:
    """Return how a fitted classifier decides its label.

    Args:
        model: The classifier.
        probable: Its probabilities for some rows, shape [rows, classes]; None if it has none.
        named: The places of the classes that it names for these rows, shape [rows].
    """
    if probable is None:
        return "only"
    inner, threshold = unwrapped(model)
    if threshold is None and not decides_by_scores(inner) and (probable.argmax(axis=1) == named).all():
        return "largest"
    return "predicted"


def unwrapped(model: Any) -> tuple[Any, Threshold | None]:
    """Return the estimator inside searches and thresholds, and the threshold that decides, if any.

    The model itself is not changed.
    """
    if hasattr(model, "best_estimator_"):
        return unwrapped(model.best_estimator_)
    if type(model).__name__ in _THRESHOLDS:
        inner, _ = unwrapped(model.estimator_)
        return inner, _threshold(model)
    if isinstance(model, Pipeline):
        inner, threshold = unwrapped(model[-1])
        if inner is not model[-1]:
            shallow = copy.copy(model)
            shallow.steps = [*model.steps[:-1], (model.steps[-1][0], inner)]
            return shallow, threshold
    return model, None


def _threshold(model: Any) -> Threshold:
    tuned = hasattr(model, "best_threshold_")
    method = model.response_method
    if method == "auto":
        method = "predict_proba" if hasattr(model.estimator_, "predict_proba") else "decision_function"
    of_probability = method == "predict_proba"
    value = model.best_threshold_ if tuned else model.threshold
    if value == "auto":
        value = 0.5 if of_probability else 0.0
    positive = getattr(model, "pos_label", None)
    if tuned and positive is None:
        positive = model._curve_scorer._get_pos_label()
    place = 1 if positive is None else list(model.classes_).index(positive)
    return Threshold(place, float(value), of_probability)


def has_probabilities(model: Any) -> bool:
    """Return whether a model gives probabilities."""
    try:
        return callable(model.predict_proba)
    except AttributeError:
        return False


def decides_by_scores(model: Any) -> bool:
    """Return whether a part of an estimator decides its label by scores instead of the largest probability."""
    return any(type(part).__name__ in _OF_SCORES for part in parts(model))


def parts(model: Any) -> Iterator[Any]:
    """Yield an estimator and those inside it that pass rows on."""
    yield model
    for _, step in getattr(model, "steps", ()):
        yield from parts(step)
    for _, step, _ in getattr(model, "transformers_", ()):
        if not isinstance(step, str):
            yield from parts(step)
