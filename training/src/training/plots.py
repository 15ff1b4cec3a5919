"""Pictures of a model's held-out predictions, as matplotlib figures that need no display."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from training.labels import places, probabilities
from training.settings import Label

# More labels would make a picture unreadable.
_MOST_CURVES = 10
_MOST_NUMBERS = 20
_MOST_BARS = 20
_LONGEST_NAME = 30
CONTRIBUTIONS_FILE = "plots/contributions.png"


def figures(scores: np.ndarray, truth: np.ndarray, classes: Sequence[Label]) -> dict[str, Figure]:
    """Return the pictures of a task by file name; arguments as in `metrics.measure`."""
    if not classes:
        predicted = scores[:, 0]
        return {
            "plots/predicted_vs_true.png": _predicted_vs_true(predicted, truth),
            "plots/residuals.png": _residuals(predicted, truth),
        }
    drawn = {"plots/confusion_matrix.png": _confusion(scores, truth, classes)}
    probable = probabilities(scores, len(classes))
    if probable is not None:
        drawn["plots/calibration.png"] = _calibration(probable, truth, classes)
    return drawn


def contributions(found: Sequence[tuple[str, float]]) -> dict[str, Figure]:
    """Return the picture of the mean contributions of columns, the largest first, by file name; empty without any."""
    if not found:
        return {}
    shown = list(reversed(found[:_MOST_BARS]))
    figure, axes = _canvas("Contributions of columns, mean over rows", "moves the answer by", "")
    axes.barh(range(len(shown)), [value for _, value in shown])
    axes.set_yticks(range(len(shown)), [_plain(_short(name)) for name, _ in shown])
    return {CONTRIBUTIONS_FILE: figure}


def _confusion(scores: np.ndarray, truth: np.ndarray, classes: Sequence[Label]) -> Figure:
    labels = np.asarray(classes)
    counts = confusion_matrix(truth, labels[places(scores, len(classes))], labels=labels)
    figure, axes = _canvas("Confusion matrix, held-out rows", "predicted", "true")
    picture = axes.imshow(counts, cmap="Blues")
    figure.colorbar(picture, ax=axes)
    if len(classes) <= _MOST_NUMBERS:
        ticks = range(len(classes))
        axes.set_xticks(ticks, [_plain(label) for label in classes], rotation=45, ha="right")
        axes.set_yticks(ticks, [_plain(label) for label in classes])
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    return figure


def _calibration(scores: np.ndarray, truth: np.ndarray, classes: Sequence[Label]) -> Figure:
    figure, axes = _canvas("Calibration, held-out rows", "predicted probability", "share that is of the class")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfect")
    for column, label in list(enumerate(classes))[:_MOST_CURVES]:
        share, predicted = calibration_curve(truth == label, scores[:, column].clip(0, 1), n_bins=10)
        axes.plot(predicted, share, marker="o", label=_plain(label))
    axes.legend()
    return figure


def _predicted_vs_true(predicted: np.ndarray, truth: np.ndarray) -> Figure:
    figure, axes = _canvas("Predicted against true, held-out rows", "true", "predicted")
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(ends, ends, color="grey", linestyle=":")
    axes.scatter(truth, predicted, s=12)
    return figure


def _residuals(predicted: np.ndarray, truth: np.ndarray) -> Figure:
    figure, axes = _canvas("Residuals, held-out rows", "predicted", "true minus predicted")
    axes.axhline(0, color="grey", linestyle=":")
    axes.scatter(predicted, truth - predicted, s=12)
    return figure


def _canvas(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _plain(label: Label) -> str:
    """Return a label that matplotlib does not read as a formula."""
    return str(label).replace("$", r"\$")
