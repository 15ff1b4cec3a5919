"""The metrics of explanations. They are only updated on the event loop."""

from collections.abc import Iterator
from typing import Literal

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.tally import CounterTally, HistogramTally

# The queue was full, or the time limit was reached.
Reason = Literal["full", "time"]

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ExplainTally(Collector):
    """Counts the explanations of one process."""

    def __init__(self) -> None:
        self._rows = CounterTally("serving_explanations", "Rows explained", ("model_name",))
        self._seconds = HistogramTally(
            "serving_explanation_seconds", "Time to explain the rows of a request, once its turn came", "model_name",
            _BUCKETS,
        )  # fmt: skip
        self._refused = CounterTally("serving_explanations_refused", "Requests not explained, by reason", ("reason",))
        for reason in ("full", "time"):
            self._refused.counts[reason,] += 0

    def explained(self, model: str, rows: int, seconds: float) -> None:
        """Count a request."""
        self._rows.counts[model,] += rows
        self._seconds.by_label[model].observe(seconds)

    def refused(self, reason: Reason) -> None:
        """Count a request that was not explained."""
        self._refused.counts[reason,] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the counts in Prometheus' form."""
        for tally in (self._rows, self._seconds, self._refused):
            yield from tally.collect()
