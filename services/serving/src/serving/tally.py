"""Counters that are fast enough for the hot path.

prometheus_client's own counters take a lock and several calls each. Half a dozen of them for each request would cost
about as much as the model. Everything here is counted on the event loop, so plain numbers are enough. They are
converted to Prometheus' form when it scrapes them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class CounterTally(Collector):
    """Counts events by their labels: `tally.counts[labels] += 1`."""

    def __init__(self, name: str, documentation: str, labels: Labels = ()) -> None:
        self.counts: defaultdict[Labels, int] = defaultdict(int)
        self._name = name
        self._documentation = documentation
        self._labels = labels
        if not labels:
            self.counts[()] = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counts in Prometheus' form."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, count in self.counts.items():
            family.add_metric(labels, count)
        yield family


class Distribution:
    """The number of values in each bucket, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """Return each upper bound with the number of values up to it, and the sum of all values."""
        buckets, total = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, self._sum


class HistogramTally(Collector):
    """Distributions by one label: `tally.by_label[label].observe(value)`."""

    def __init__(self, name: str, documentation: str, label: str, bounds: tuple[float, ...]) -> None:
        self.by_label: defaultdict[str, Distribution] = defaultdict(lambda: Distribution(bounds))
        self._name = name
        self._documentation = documentation
        self._label = label

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the distributions in Prometheus' form."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=(self._label,))
        for label, distribution in self.by_label.items():
            buckets, total = distribution.cumulated()
            family.add_metric((label,), buckets, total)
        yield family
