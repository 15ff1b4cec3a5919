"""The metrics of the log. They have a lock, because two threads update them and the event loop reads them."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# The queue was full; the store did not accept files in time; the process ended before it did; or a line could not be
# written, which is a fault of this program.
Reason = Literal["queue", "store", "stopped", "failed"]
_REASONS: tuple[Reason, ...] = ("queue", "store", "stopped", "failed")


class LogTally(Collector):
    """Counts the rows and files of the log of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dropped: Counter[Reason] = Counter(dict.fromkeys(_REASONS, 0))
        self._written = self._bytes = 0
        self._last_write = 0.0
        self._pending = 0

    def dropped(self, reason: Reason, rows: int) -> None:
        """Count rows that should be in the log and are not."""
        if rows:
            with self._lock:
                self._dropped[reason] += rows

    def written(self, rows: int, size: int, now: float) -> None:
        """Count a file that the store has accepted, with the time in seconds since 1970."""
        with self._lock:
            self._written += rows
            self._bytes += size
            self._last_write = now

    def pending(self, size: int) -> None:
        """Set how many bytes of files the store does not have yet."""
        with self._lock:
            self._pending = size

    def collect(self) -> Iterator[Metric]:
        """Return the counts in Prometheus' form."""
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
