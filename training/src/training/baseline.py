"""The distributions of the training data, with which serving compares requests (docs/model-format.md)."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from modelformat.baseline import Baseline, FeatureBaseline, PredictionBaseline
from modelformat.columns import NO_TEXT
from training.kinds import Column, numeric, plain
from training.labels import places
from training.settings import Label

# Ten bins are usual for a population stability index. With fewer rows per bin, chance alone would look like drift.
_MOST_BINS = 10
_ROWS_A_BIN = 30


def measure_baseline(
    features: Sequence[Column], rows: np.ndarray, scores: np.ndarray, classes: Sequence[Label]
) -> Baseline:
    """Measure the distributions of features and answers.

    Args:
        features: The columns, in the order of `rows`' columns.
        rows: The rows that the model was fitted on, shape [rows, features].
        scores: Scores of rows that the model was not fitted on, as `training.metrics.measure` takes them. Of rows
            that it was fitted on, the model is too sure.
        classes: The labels, empty for regression.
    """
    described = [_feature(column, rows, index) for index, column in enumerate(features)]
    if classes:
        counts = np.bincount(places(scores, len(classes)), minlength=len(classes))
        shares = (counts / len(scores)).tolist()
        prediction = PredictionBaseline(len(scores), shares, classes=list(classes))
    else:
        edges, shares = _distribution(scores[:, 0])
        prediction = PredictionBaseline(len(scores), shares, edges=edges)
    return Baseline(1 if plain(features) else 2, len(rows), described, prediction)


def encoded(baseline: Baseline) -> bytes:
    """Return the file's content; equal baselines give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(baseline), indent=2) + b"\n"


def _feature(column: Column, rows: np.ndarray, index: int) -> FeatureBaseline:
    if column.is_text:
        return _category(column, rows[:, index])
    values = numeric(rows, index)
    if not column.optional:
        edges, shares = _distribution(values)
        return FeatureBaseline(name=column.name, edges=edges, shares=shares)
    present = values[~np.isnan(values)]
    nulls = 1 - len(present) / len(values)
    edges, shares = _distribution(present) if len(present) else ([0.0], [0.0, 0.0])
    return FeatureBaseline(name=column.name, edges=edges, shares=shares, nulls=nulls)


def _category(column: Column, texts: np.ndarray) -> FeatureBaseline:
    counts = Counter(texts.tolist())
    nulls = counts.pop(NO_TEXT, 0)
    present = max(len(texts) - nulls, 1)
    known = [counts[category] for category in column.categories]
    shares = [count / present for count in known]
    others = (counts.total() - sum(known)) / present
    return FeatureBaseline(
        name=column.name, categories=list(column.categories), shares=[*shares, others], nulls=nulls / len(texts)
    )


def _distribution(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Return edges at quantiles, and the shares between them. The edges are float32 numbers, as serving computes."""
    values = values.astype(np.float32)
    bins = int(np.clip(len(values) // _ROWS_A_BIN, 2, _MOST_BINS))
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins).astype(np.float32))
    edges = edges[edges > values.min()]
    if not len(edges):
        # Nearly every value is the smallest one, so the bins are: below it, equal to it, above it.
        edges = np.array([values.min(), np.nextafter(values.min(), np.float32(np.inf))], dtype=np.float32)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return edges.tolist(), (counts / len(values)).tolist()
