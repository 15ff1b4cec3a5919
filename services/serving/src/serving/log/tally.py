"""The metrics of the log. Two threads count, and the event loop asks: so there is a lock."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# Too many waited to be written; the store did not take files in time; the process ended before it did; or a line could
# not be made, which is a mistake of this program.
Reason = Literal["queue", "store", "stopped", "failed"]
_REASONS: tuple[Reason, ...] = ("queue", "store", "stopped", "failed")


class LogTally(Collector):
    """Counts for the log of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dropped: Counter[Reason] = Counter(dict.fromkeys(_REASONS, 0))
        self._written = self._bytes = 0
        self._last_write = 0.0
        self._pending = 0

    def dropped(self, reason: Reason, rows: int) -> None:
        """Counts rows that are not in the log, though they might be."""
        if rows:
            with self._lock:
                self._dropped[reason] += rows

    def written(self, rows: int, size: int, now: float) -> None:
        """Counts a file that the store has, at a time in seconds since 1970."""
        with self._lock:
            self._written += rows
            self._bytes += size
            self._last_write = now

    def pending(self, size: int) -> None:
        """Notes how many bytes of files the store does not have yet."""
        with self._lock:
            self._pending = size

    def collect(self) -> Iterator[Metric]:
        """Gives the counts in Prometheus' form."""
        with self._lock:
            return iter(self._families())

    def _families(self) -> list[Metric]:
        name = "serving_prediction_log"
        dropped = CounterMetricFamily(
            f"{name}_rows_dropped", "Rows that could not be logged, by reason", labels=("reason",)
        )
        for reason, rows in self._dropped.items():
            dropped.add_metric((reason,), rows)
        return [
            CounterMetricFamily(f"{name}_rows_written", "Rows that the store has", self._written),
            dropped,
            CounterMetricFamily(f"{name}_bytes", "Compressed bytes that the store has", self._bytes),
            GaugeMetricFamily(
                f"{name}_pending_bytes", "Bytes of files that the store has not accepted yet", self._pending
            ),
            GaugeMetricFamily(
                f"{name}_last_write_timestamp_seconds",
                "When the store last accepted a file; 0 for never",
                self._last_write,
            ),
        ]
