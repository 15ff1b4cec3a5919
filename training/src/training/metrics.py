"""The metrics, which direction is better, and the metrics of a constant guess."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold, cross_validate
from sklearn.pipeline import Pipeline

from training.labels import has_probabilities, places, probabilities
from training.models import fit_parameters, quantile_of
from training.settings import Label, Task

# The loss of a predicted quantile, and the share of rows that lie at or below it.
PINBALL, COVERAGE = "pinball", "coverage"
# The metrics that need probabilities.
OF_PROBABILITIES = ("log_loss", "brier")
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "rmse", "mae", PINBALL})
_DEFAULT_THRESHOLDS: dict[Task, dict[str, float]] = {"classification": {"accuracy": 0.7}, "regression": {"r2": 0.2}}
_CHAMPION_METRIC: dict[Task, str] = {"classification": "f1_macro", "regression": "r2"}
_BASELINE_METRIC: dict[Task, str] = {"classification": "brier", "regression": "rmse"}
_SCORERS: dict[Task, dict[str, tuple[str, int]]] = {
    "classification": {"accuracy": ("accuracy", 1), "f1_macro": ("f1_macro", 1), "log_loss": ("neg_log_loss", -1)},
    "regression": {
        "rmse": ("neg_root_mean_squared_error", -1),
        "mae": ("neg_mean_absolute_error", -1),
        "r2": ("r2", 1),
    },
}


def default_thresholds(task: Task, quantile: float | None = None) -> dict[str, float]:
    """Return the default thresholds; none for a quantile, which is not a good guess of the value."""
    return {} if quantile is not None else _DEFAULT_THRESHOLDS[task]


def champion_metric(task: Task, quantile: float | None = None) -> str:
    """Return the metric that is compared with the champion's by default."""
    return PINBALL if quantile is not None else _CHAMPION_METRIC[task]


def baseline_metric(task: Task, quantile: float | None = None, *, probable: bool = True) -> str:
    """Return the metric in which a model must beat a constant guess; `probable`: a classifier gives probabilities."""
    if not probable and task == "classification":
        return _CHAMPION_METRIC[task]
    return PINBALL if quantile is not None else _BASELINE_METRIC[task]


def folds_metrics(task: Task, quantile: float | None = None, *, probable: bool = True) -> list[str]:
    """Return the metrics that cross-validation measures."""
    return list(_scorers(task, quantile, probable=probable))


def metric_names(classes: Sequence[Label], quantile: float | None = None, *, probable: bool = True) -> list[str]:
    """Return the metrics of a task; without classes, of a regression or of the prediction of a quantile."""
    if not classes:
        return [*_SCORERS["regression"], *([PINBALL, COVERAGE] if quantile is not None else [])]
    per_class = [f"{kind}/{key}" for key in class_keys(classes) for kind in ("precision", "recall", "f1")]
    names = [*_SCORERS["classification"], "brier", *per_class]
    return names if probable else [name for name in names if name not in OF_PROBABILITIES]


def measure(
    scores: np.ndarray, truth: np.ndarray, classes: Sequence[Label], quantile: float | None = None
) -> dict[str, float]:
    """Return all metrics of some predictions.

    Args:
        scores: A classifier's, as in `training.labels`; without classes, predicted values of shape [rows, 1].
        truth: Shape [rows].
        classes: The labels in the order of the columns; empty for regression.
        quantile: The quantile of the target that is predicted, if it is not the mean.

    Returns:
        Metrics by name, in the order of `metric_names`. Without probabilities, there is no `log_loss` and no `brier`.
        `brier` is Brier's own multi-class score: the mean squared distance of the probabilities from the truth, from
        0 to 2 (Monthly Weather Review 78, 1950).
    """
    if not classes:
        predicted = scores[:, 0]
        values = {
            "rmse": float(sk.root_mean_squared_error(truth, predicted)),
            "mae": float(sk.mean_absolute_error(truth, predicted)),
            "r2": float(sk.r2_score(truth, predicted)),
        }
        if quantile is not None:
            values[PINBALL] = float(sk.mean_pinball_loss(truth, predicted, alpha=quantile))
            values[COVERAGE] = float((truth <= predicted).mean())
        return values
    labels = np.asarray(classes)
    predicted, probable = labels[places(scores, len(classes))], probabilities(scores, len(classes))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    figures = {
        "accuracy": float(sk.accuracy_score(truth, predicted)),
        "f1_macro": float(np.mean(f1)),
    }
    if probable is not None:
        figures["log_loss"] = float(sk.log_loss(truth, _summing_to_one(probable), labels=labels))
        figures["brier"] = float(((probable - (truth[:, None] == labels)) ** 2).sum(axis=1).mean())
    for index, key in enumerate(class_keys(classes)):
        figures |= {
            f"precision/{key}": float(precision[index]),
            f"recall/{key}": float(recall[index]),
            f"f1/{key}": float(f1[index]),
        }
    return figures


def baseline_scores(
    train_truth: np.ndarray, rows: int, classes: Sequence[Label], quantile: float | None = None
) -> np.ndarray:
    """Return the scores of a constant guess: the classes' shares among the training rows, the mean, or the quantile.

    Returns:
        Shape [rows, classes] or [rows, 1], as `measure` takes it.
    """
    guess = [float((train_truth == label).mean()) for label in classes] or [
        float(train_truth.mean() if quantile is None else np.quantile(train_truth, quantile))
    ]
    return np.tile(guess, (rows, 1))


def cross_validated(
    pipeline: Pipeline,
    rows: np.ndarray,
    truth: np.ndarray,
    task: Task,
    *,
    folds: int | Sequence[tuple[np.ndarray, np.ndarray]],
    seed: int,
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """Return mean and standard deviation over folds, as `cv_<metric>_mean` and `cv_<metric>_std`; empty without folds.

    `folds` is a number of random folds, or pairs of row numbers. `weights`, shape [rows], are weights of rows.
    """
    if not folds:
        return {}
    kind = StratifiedKFold if task == "classification" else KFold
    scorers = _scorers(task, quantile_of(pipeline), probable=has_probabilities(pipeline))
    with warnings.catch_warnings():
        # The fit on all training rows has already reported the warnings.
        warnings.simplefilter("ignore")
        found = cross_validate(
            clone(pipeline),
            rows,
            truth,
            cv=kind(folds, shuffle=True, random_state=seed) if isinstance(folds, int) else folds,
            params=fit_parameters(pipeline, weights),
            scoring={name: scorer for name, (scorer, _) in scorers.items()},
            error_score="raise",
        )
    figures: dict[str, float] = {}
    for name, (_, sign) in scorers.items():
        values = sign * found[f"test_{name}"]
        figures |= {f"cv_{name}_mean": float(values.mean()), f"cv_{name}_std": float(values.std())}
    return figures


def _scorers(task: Task, quantile: float | None, *, probable: bool) -> dict[str, tuple[Any, int]]:
    if quantile is None:
        return {name: how for name, how in _SCORERS[task].items() if probable or name not in OF_PROBABILITIES}
    pinball = sk.make_scorer(sk.mean_pinball_loss, greater_is_better=False, alpha=quantile)
    return {**_SCORERS[task], PINBALL: (pinball, -1)}


def class_keys(classes: Sequence[Label]) -> list[str]:
    """Return the labels as MLflow's metric names allow them; if two became equal, each gets its position appended."""
    plain = [re.sub(r"[^\w.\- ]", "_", str(label), flags=re.ASCII).strip()[:100] or "_" for label in classes]
    # MLflow treats a name as a path, in which these two mean folders.
    plain = [key.replace(".", "_") if key in (".", "..") else key for key in plain]
    return plain if len(set(plain)) == len(plain) else [f"{key}_{index}" for index, key in enumerate(plain)]


def _summing_to_one(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities that sum to one: scikit-learn warns about float32 sums, which are less exact."""
    # Some graphs give one class slightly more than 1, and another less than 0.
    bounded = probabilities.clip(0, 1)
    normalised: np.ndarray = bounded / bounded.sum(axis=1, keepdims=True)
    return normalised
