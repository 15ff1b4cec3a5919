"""Drift: how much recent requests and answers differ from training, as population stability indices.

The index of a distribution q against a baseline p, both over the same bins, is the sum of (q - p) ln(q / p). Credit
scoring has used it for decades (Siddiqi, Credit Risk Scorecards, 2006): up to 0.1 counts as the same, above 0.25 as
different. Each category is a bin, and so are nulls. Half a row is added to every bin, so that an empty one does not
make the index infinite (the estimator of Krichevsky and Trofimov).
"""

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric

from modelformat.baseline import Baseline
from serving.baseline import all_shares
from serving.bins import Bins, Counts
from serving.labels import of_places, places
from serving.runtimes.base import Matrix

# There is one time series per feature. More than this many would be too much for Prometheus.
MOST_FEATURES = 100
_SLOTS = 12
# From more rows, a sample shows the distribution well enough, and costs little compared with the prediction.
_MOST_ROWS = 512
_PROBABILITY_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Window:
    """Counts in a sliding window of some seconds: a ring of slots, whose oldest one is cleared as time passes."""

    def __init__(self, width: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ring: Counts = np.zeros((_SLOTS, width), dtype=np.int64)
        self._slot_seconds = seconds / _SLOTS
        self._clock = clock
        self._now = self._slot()

    def add(self, counts: Counts) -> None:
        """Add counts, shape [width]."""
        self._turn()
        self._ring[self._now % _SLOTS] += counts

    def total(self) -> Counts:
        """Return the counts of the whole window, shape [width]."""
        self._turn()
        total: Counts = self._ring.sum(axis=0)
        return total

    def _turn(self) -> None:
        now = self._slot()
        for slot in range(max(self._now + 1, now - _SLOTS + 1), now + 1):
            self._ring[slot % _SLOTS] = 0
        self._now = now

    def _slot(self) -> int:
        return int(self._clock() / self._slot_seconds)


class Drift:
    """Compares rows and answers of a model version with its baseline, over a sliding window of some seconds."""

    def __init__(self, baseline: Baseline, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        features = baseline.features[:MOST_FEATURES]
        prediction = baseline.prediction
        self._names = [feature.name for feature in features]
        self._bins = Bins(features)
        self._answer_edges = np.array(prediction.edges, dtype=np.float32) if prediction.edges is not None else None
        self._answers = slice(self._bins.width, self._bins.width + len(prediction.shares))
        self._expected = [smoothed(np.array(all_shares(feature)) * baseline.rows) for feature in features]
        self._expected_answers = smoothed(np.array(prediction.shares) * prediction.rows)
        self._window = Window(self._answers.stop + 1, seconds, clock)
        self._probabilities = np.zeros(len(_PROBABILITY_BOUNDS) + 1, dtype=np.int64)
        self._probability_sum = 0.0
        self._first = 0

    def add(self, rows: Matrix, result: Matrix) -> None:
        """Count rows [rows, columns] and their results. Of many rows, every n-th counts n times."""
        step = max(1, rows.shape[0] // _MOST_ROWS)
        # Start at another row each time, in case the rows repeat in a pattern.
        self._first += 1
        rows, result = rows[self._first % step :: step], result[self._first % step :: step]
        counts = np.zeros(self._answers.stop + 1, dtype=np.int64)
        counts[: self._bins.width] = self._bins.count(rows)
        counts[self._answers] = self._count_answers(result, step)
        counts[-1] = len(rows)
        self._window.add(counts * step)

    def _count_answers(self, result: Matrix, each: int) -> Counts:
        """Count answers and their probabilities in bins. Each answer stands for `each` rows."""
        size = len(self._expected_answers)
        if self._answer_edges is not None:
            values = result.astype(np.float32)
            return np.bincount(np.searchsorted(self._answer_edges, values, side="right"), minlength=size)
        best = places(result, size)
        likeliest = of_places(result, size)
        self._probabilities += each * np.bincount(
            np.searchsorted(_PROBABILITY_BOUNDS, likeliest), minlength=len(_PROBABILITY_BOUNDS) + 1
        )
        self._probability_sum += each * float(likeliest.sum(dtype=np.float64))
        return np.bincount(best, minlength=size)

    def tell(self, model: str, told: "Families") -> None:
        """Add the metrics of this model version, with the indices only if the window has rows."""
        total = self._window.total()
        rows = int(total[-1])
        told.rows.add_metric((model,), rows)
        if self._answer_edges is None:
            cumulated = self._probabilities.cumsum().tolist()
            bounds = (*map(str, _PROBABILITY_BOUNDS), "+Inf")
            buckets = [(bound, float(count)) for bound, count in zip(bounds, cumulated, strict=True)]
            told.probability.add_metric((model,), buckets, self._probability_sum)
        if not rows:
            return
        for name, bins, expected in zip(self._names, self._bins.slices, self._expected, strict=True):
            told.inputs.add_metric((model, name), psi(expected, total[bins]))
        told.prediction.add_metric((model,), psi(self._expected_answers, total[self._answers]))


class Families:
    """The metrics of drift in Prometheus' form, each once for all models."""

    def __init__(self) -> None:
        by_model = ("model_name",)
        self.rows = GaugeMetricFamily(
            "serving_drift_window_rows", "Rows in the window that drift is measured over", labels=by_model
        )
        self.probability = HistogramMetricFamily(
            "serving_prediction_probability", "Probability of the predicted class", labels=by_model
        )
        self.inputs = GaugeMetricFamily(
            "serving_input_psi",
            "Population stability index of a feature against training",
            labels=("model_name", "feature"),
        )
        self.prediction = GaugeMetricFamily(
            "serving_prediction_psi", "Population stability index of the answers", labels=by_model
        )


def drift_metrics(drifts: Mapping[str, Drift]) -> Iterator[Metric]:
    """Return the metrics of the drift of models, by model name. Metrics without a sample are left out."""
    told = Families()
    for model, drift in drifts.items():
        drift.tell(model, told)
    families = (told.rows, told.probability, told.inputs, told.prediction)
    return (family for family in families if family.samples)


def psi(expected: NDArray[np.float64], counts: Counts) -> float:
    """Return the index of counts against expected shares, both over the same bins."""
    found = smoothed(counts)
    return float(((found - expected) * np.log(found / expected)).sum())


def smoothed(counts: NDArray[np.floating] | Counts) -> NDArray[np.float64]:
    """Return counts as shares, none of which is 0."""
    more = counts + 0.5
    shares: NDArray[np.float64] = more / more.sum()
    return shares
