"""The metrics of the process for Prometheus. README.md lists all of them."""

from collections.abc import Callable, Iterator

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from serving.cache import CacheEvents
from serving.drift import Drift, drift_metrics
from serving.labels import places
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix
from serving.tally import CounterTally, HistogramTally

REQUEST_BUCKETS = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
INFERENCE_BUCKETS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
# A model's classes beyond this number are counted together, because each class is a time series.
_MOST_CLASSES = 20
# Predictions are counted this many rows at a time, because numpy takes hardly longer for many rows than for one. They
# are kept in memory until then, so they are counted earlier if there are many runs or values.
_ROWS_AT_ONCE, _RUNS_AT_ONCE, _VALUES_AT_ONCE = 4096, 512, 65536


class Metrics(CacheEvents, Collector):
    """All metrics of one process, in a separate registry.

    For each model, the version that `latest` means is compared with its baseline, over a sliding window of
    `drift_seconds`. 0 switches this off.
    """

    def __init__(self, drift_seconds: float = 0.0) -> None:
        self._requests = CounterTally("serving_requests", "Requests answered", ("route", "method", "status"))
        self._durations = HistogramTally(
            "serving_request_duration_seconds", "Time from a request's head to its answer", "route", REQUEST_BUCKETS
        )
        self._shed = CounterTally(
            "serving_requests_shed", "Predictions refused because too many others were waiting", ("route",)
        )
        self._inference = HistogramTally(
            "serving_inference_seconds", "Time in the model, a batch counting once", "runtime", INFERENCE_BUCKETS
        )
        self._predictions = CounterTally(
            "serving_predictions", "Rows predicted", ("model_name", "model_version", "class")
        )
        self._unknown = CounterTally(
            "serving_unknown_categories",
            "Values of text columns that training did not see, refused or not",
            ("model_name", "column"),
        )
        self._hits = CounterTally("serving_model_cache_hits", "Versions found in memory when a request named one")
        self._misses = CounterTally("serving_model_cache_misses", "Versions not found in memory")
        self._loads = CounterTally("serving_model_loads", "Versions loaded")
        self._failures = CounterTally("serving_model_load_failures", "Versions that could not be loaded")
        self._registry_errors = CounterTally(
            "serving_registry_errors", "Requests that MLflow did not answer", ("operation",)
        )
        self._unseen: list[tuple[LoadedModel, Matrix, Matrix]] = []
        self._unseen_rows = self._unseen_values = 0
        self._registry = registry = CollectorRegistry()
        for tally in (
            self._requests,
            self._durations,
            self._shed,
            self._inference,
            self._predictions,
            self._unknown,
            self._hits,
            self._misses,
            self._loads,
            self._failures,
            self._registry_errors,
        ):
            registry.register(tally)
        self._drift_seconds = drift_seconds
        self._latest: dict[str, LoadedModel] = {}
        self._drift: dict[LoadedModel, Drift] = {}
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.models_loaded = Gauge("serving_models_loaded", "Versions in memory", registry=registry)
        self._info = Gauge(
            "serving_model_info",
            "The version that `latest` means, of each model",
            ("name", "version", "digest", "release", "runtime"),
            registry=registry,
        )
        self._pinned = Gauge(
            "serving_pinned_model_info",
            "The pin of each pinned model, loaded or not",
            ("name", "version", "digest"),
            registry=registry,
        )
        self.ready = Gauge("serving_ready", "1 while the process is ready for requests", registry=registry)
        self.in_flight = 0
        in_flight = Gauge("serving_requests_in_flight", "Requests being answered now", registry=registry)
        in_flight.set_function(lambda: self.in_flight)

    def answered(self, route: str, method: str, status: str, seconds: float) -> None:
        """Count a request. Routes, methods and statuses must come from bounded sets."""
        self._requests.counts[route, method, status] += 1
        self._durations.by_label[route].observe(seconds)

    def shed(self, route: str) -> None:
        """Count a prediction that was refused unread, because too many others wait."""
        self._requests.counts[route, "POST", "503"] += 1
        self._shed.counts[route,] += 1

    def predicted(self, model: LoadedModel, rows: Matrix, result: Matrix, seconds: float) -> None:
        """Keep the results of a model for some rows, to be counted later, and count the time of the run in seconds."""
        self._inference.by_label[model.runtime.name].observe(seconds)
        self._unseen.append((model, rows, result))
        self._unseen_rows += len(result)
        self._unseen_values += rows.size
        if (
            self._unseen_rows >= _ROWS_AT_ONCE
            or self._unseen_values >= _VALUES_AT_ONCE
            or len(self._unseen) >= _RUNS_AT_ONCE
        ):
            self._catch_up()

    def _catch_up(self) -> None:
        """Count the predictions that were kept since the last time."""
        by_model: dict[LoadedModel, list[tuple[Matrix, Matrix]]] = {}
        for model, rows, result in self._unseen:
            by_model.setdefault(model, []).append((rows, result))
        self._unseen, self._unseen_rows, self._unseen_values = [], 0, 0
        for model, pairs in by_model.items():
            rows, result = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
            for column, count in model.reader.unknown(rows):
                self._unknown.counts[model.name, column] += count
            finite = np.isfinite(result)
            if not finite.all():
                answered = finite.reshape(len(result), -1).all(axis=1)
                rows, result = rows[answered], result[answered]
            self._count(model, result)
            if drift := self._drift.get(model):
                drift.add(rows, result)

    def _count(self, model: LoadedModel, result: Matrix) -> None:
        classes = model.spec.classes
        if not classes:
            self._predictions.counts[model.name, model.version, ""] += len(result)
            return
        counts = np.bincount(places(result, len(classes)), minlength=len(classes))
        for index in counts.nonzero()[0].tolist():
            label = str(classes[index]) if index < _MOST_CLASSES else "other"
            self._predictions.counts[model.name, model.version, label] += int(counts[index])

    def unknown(self, model: str, column: str) -> None:
        """Count a category for which a request is refused."""
        self._unknown.counts[model, column] += 1

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        self._catch_up()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of drift. Models without a baseline have none."""
        return drift_metrics({model.name: drift for model, drift in self._drift.items()})

    def pinned(self, name: str, version: str, digest: str) -> None:
        """Set the version that the settings pin a model to."""
        self._pinned.labels(name, version, digest).set(1)

    def served(self, model: LoadedModel) -> None:
        """Set the version that `latest` means from now on, instead of the earlier one of the same model."""
        self._catch_up()
        if before := self._latest.get(model.name):
            self._drift.pop(before, None)
            self._info.remove(*_info(before))
        self._latest[model.name] = model
        self._info.labels(*_info(model)).set(1)
        for column in model.spec.columns:
            if column.categories:
                self._unknown.counts[model.name, column.name] += 0
        if model.baseline and self._drift_seconds:
            self._drift[model] = Drift(model.baseline, self._drift_seconds)

    def register(self, collector: Collector) -> None:
        """Register further metrics, which only some processes have."""
        self._registry.register(collector)

    def keys(self, count: Callable[[], float]) -> None:
        """Add the metric of valid API keys, whose number `count` returns. Without API keys there is no such metric."""
        Gauge("serving_api_keys", "API keys that are valid now", registry=self._registry).set_function(count)

    def registry_error(self, operation: str) -> None:
        """Count a request that MLflow did not answer."""
        self._registry_errors.counts[operation,] += 1

    def hit(self) -> None:
        """Count a version found in memory."""
        self._hits.counts[()] += 1

    def miss(self) -> None:
        """Count a version not found in memory."""
        self._misses.counts[()] += 1

    def loaded(self) -> None:
        """Count a loaded version."""
        self._loads.counts[()] += 1

    def failed(self) -> None:
        """Count a failed load."""
        self._failures.counts[()] += 1

    def evicted(self, model: LoadedModel) -> None:
        """Remove a version's series, so that their number stays bounded."""
        self._catch_up()
        counts = self._predictions.counts
        for labels in [labels for labels in counts if labels[:2] == (model.name, model.version)]:
            del counts[labels]


def _info(model: LoadedModel) -> tuple[str, ...]:
    return model.name, model.version, model.digest, model.release, model.runtime.name
