"""The metrics of the shadow. They have a lock, because the worker updates them and the event loop reads them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.bins import Counts
from serving.drift import psi, smoothed
from serving.metrics import INFERENCE_BUCKETS
from serving.shadow.pair import Comparison, Pair
from serving.tally import Distribution

Outcome = Literal["agreed", "differed", "failed", "dropped"]

_OUTCOMES: tuple[Outcome, ...] = ("agreed", "differed", "failed", "dropped")
_DIFFERENCE_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


class ShadowTally(Collector):
    """Counts the comparisons of one shadow of one model. `ready` says whether it computes."""

    def __init__(self, model: str, shadow: str, ready: Callable[[], bool]) -> None:
        self._labels = (model, shadow)
        self._ready = ready
        self._lock = threading.Lock()
        self._rows: Counter[Outcome] = Counter(dict.fromkeys(_OUTCOMES, 0))
        self._answers: Counter[tuple[str, str]] = Counter()
        self._differences: Counts = np.zeros(len(_DIFFERENCE_BUCKETS) + 1, dtype=np.int64)
        self._difference_sum = 0.0
        self._seconds = Distribution(INFERENCE_BUCKETS)
        # The bins are those of the last compared pair: another main version may have other classes.
        self._pair: Pair | None = None
        self._bins: tuple[Counts, Counts] | None = None

    def dropped(self, rows: int) -> None:
        """Count rows that were not compared, because too many waited."""
        with self._lock:
            self._rows["dropped"] += rows

    def failed(self, rows: int) -> None:
        """Count rows that the shadow could not compute."""
        with self._lock:
            self._rows["failed"] += rows

    def timed(self, seconds: float) -> None:
        """Count the seconds of one run."""
        with self._lock:
            self._seconds.observe(seconds)

    def compared(self, pair: Pair, found: Comparison) -> None:
        """Count the result of comparing some rows."""
        differences = np.bincount(
            np.searchsorted(_DIFFERENCE_BUCKETS, found.differences), minlength=len(self._differences)
        )
        with self._lock:
            self._rows.update({"agreed": found.agreed, "differed": found.differed, "failed": found.failed})
            self._differences += differences
            self._difference_sum += float(found.differences.sum())
            if found.confusion is not None:
                for ours, theirs in np.argwhere(found.confusion).tolist():
                    self._answers[pair.shown[ours], pair.shown[theirs]] += int(found.confusion[ours, theirs])
            before = self._bins if pair is self._pair else None
            self._pair = pair
            main, shadow = found.main_bins, found.shadow_bins
            self._bins = (before[0] + main, before[1] + shadow) if before else (main, shadow)

    def collect(self) -> Iterator[Metric]:
        """Return the counts in Prometheus' form."""
        with self._lock:
            return iter(self._families())

    def _families(self) -> list[Metric]:
        names = ("model_name", "shadow")
        rows = CounterMetricFamily(
            "serving_shadow_rows", "Rows given to the shadow, by outcome", labels=(*names, "outcome")
        )
        for outcome, count in self._rows.items():
            rows.add_metric((*self._labels, outcome), count)
        answers = CounterMetricFamily(
            "serving_shadow_answers",
            "Rows compared, by the answered class and the shadow's class",
            labels=(*names, "answer", "shadow_answer"),
        )
        for pair, count in self._answers.items():
            answers.add_metric((*self._labels, *pair), count)
        difference = HistogramMetricFamily(
            "serving_shadow_difference",
            "Absolute difference between the two in the probability of the answered class, or in the number",
            labels=names,
        )
        bounds = (*map(str, _DIFFERENCE_BUCKETS), "+Inf")
        cumulated = map(float, self._differences.cumsum().tolist())
        difference.add_metric(self._labels, list(zip(bounds, cumulated, strict=True)), self._difference_sum)
        inference = HistogramMetricFamily(
            "serving_shadow_inference_seconds", "CPU time of the shadow, in seconds; a run counts once", labels=names
        )
        inference.add_metric(self._labels, *self._seconds.cumulated())
        ready = GaugeMetricFamily("serving_shadow_ready", "1 while the shadow is loaded and compared", labels=names)
        ready.add_metric(self._labels, float(self._ready()))
        return [rows, answers, difference, inference, ready, *self._index(names)]

    def _index(self, names: tuple[str, ...]) -> Iterator[Metric]:
        if self._bins is None or not self._bins[0].any():
            return
        index = GaugeMetricFamily(
            "serving_shadow_psi",
            "Population stability index of the shadow's answers compared with those that were given",
            labels=names,
        )
        main, shadow = self._bins
        index.add_metric(self._labels, psi(smoothed(main), shadow))
        yield index
