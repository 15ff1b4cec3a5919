"""What the data looked like in training, for serving to compare with what it is asked (docs/model-format.md)."""

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from training.settings import Label

# Ten bins are usual for a population stability index; with fewer rows a bin, chance alone would look like drift.
_MOST_BINS = 10
_ROWS_A_BIN = 30


class FeatureBaseline(Struct, frozen=True):
    """Shares of the rows in bins: bin i holds edges[i - 1] <= value < edges[i], the outer ones all that is beyond."""

    name: str
    edges: list[float]
    shares: list[float]


class PredictionBaseline(Struct, frozen=True, omit_defaults=True):
    """The distribution of the model's answers: a share for each class, or one for each bin of the predicted value."""

    rows: int
    shares: list[float]
    classes: list[Label] | None = None
    edges: list[float] | None = None


class Baseline(Struct, frozen=True):
    """The file `baseline.json`."""

    version: int
    rows: int
    features: list[FeatureBaseline]
    prediction: PredictionBaseline


def measure_baseline(
    features: Sequence[str], rows: np.ndarray, scores: np.ndarray, classes: Sequence[Label]
) -> Baseline:
    """Measure the distributions of features and answers.

    Args:
        features: Column names in the order of `rows`' columns.
        rows: The rows that the model was fitted on, shape [rows, features].
        scores: What the model gives for rows that it was not fitted on, since it is surer of those that it was: shape
            [rows, classes] or [rows, 1].
        classes: The labels, empty for regression.
    """
    described = [FeatureBaseline(name, *_distribution(values)) for name, values in zip(features, rows.T, strict=True)]
    if classes:
        counts = np.bincount(scores.argmax(axis=1), minlength=len(classes))
        shares = (counts / len(scores)).tolist()
        prediction = PredictionBaseline(len(scores), shares, classes=list(classes))
    else:
        edges, shares = _distribution(scores[:, 0])
        prediction = PredictionBaseline(len(scores), shares, edges=edges)
    return Baseline(1, len(rows), described, prediction)


def encoded(baseline: Baseline) -> bytes:
    """The file's content, the same for the same baseline."""
    return msgspec.json.format(msgspec.json.encode(baseline), indent=2) + b"\n"


def _distribution(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Edges at quantiles, and shares between them. float32 holds the edges, for that is what serving computes with."""
    values = values.astype(np.float32)
    bins = int(np.clip(len(values) // _ROWS_A_BIN, 2, _MOST_BINS))
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins).astype(np.float32))
    edges = edges[edges > values.min()]
    if not len(edges):
        # Nearly every value is the smallest one: what is new is anything below it or above it.
        edges = np.array([values.min(), np.nextafter(values.min(), np.float32(np.inf))], dtype=np.float32)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return edges.tolist(), (counts / len(values)).tolist()
