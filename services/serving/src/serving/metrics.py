"""What Prometheus is told. README.md lists every metric."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from serving.cache import CacheEvents
from serving.loader import LoadedModel
from serving.schemas import Prediction
from serving.tally import CounterTally, HistogramTally

_REQUEST_BUCKETS = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_INFERENCE_BUCKETS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
# Models with more classes than this have the rest counted together: each class is a time series.
_MOST_CLASSES = 20


class Metrics(CacheEvents):
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._requests = CounterTally("serving_requests", "Requests answered", ("route", "method", "status"))
        self._durations = HistogramTally(
            "serving_request_duration_seconds", "Time from a request's head to its answer", "route", _REQUEST_BUCKETS
        )
        self._inference = HistogramTally(
            "serving_inference_seconds", "Time in the model, a batch counting once", "runtime", _INFERENCE_BUCKETS
        )
        self._predictions = CounterTally("serving_predictions", "Rows predicted", ("model_version", "class"))
        self._hits = CounterTally("serving_model_cache_hits", "Versions found in memory when a request named one")
        self._misses = CounterTally("serving_model_cache_misses", "Versions not found in memory")
        self._loads = CounterTally("serving_model_loads", "Versions loaded")
        self._failures = CounterTally("serving_model_load_failures", "Versions that could not be loaded")
        self._registry_errors = CounterTally(
            "serving_registry_errors", "Questions that MLflow left unanswered", ("operation",)
        )
        self.registry = registry = CollectorRegistry()
        for tally in (
            self._requests,
            self._durations,
            self._inference,
            self._predictions,
            self._hits,
            self._misses,
            self._loads,
            self._failures,
            self._registry_errors,
        ):
            registry.register(tally)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._loaded = Gauge("serving_models_loaded", "Versions in memory", registry=registry)
        self._info = Gauge(
            "serving_model_info",
            "The model that `latest` means",
            ("name", "version", "digest", "release", "runtime"),
            registry=registry,
        )
        self.ready = Gauge("serving_ready", "1 while requests are welcome", registry=registry)
        self.in_flight = 0
        in_flight = Gauge("serving_requests_in_flight", "Requests being answered now", registry=registry)
        in_flight.set_function(lambda: self.in_flight)

    def answered(self, route: str, method: str, status: str, seconds: float) -> None:
        """Counts a request. Routes, methods and statuses must come from bounded sets."""
        self._requests.counts[route, method, status] += 1
        self._durations.by_label[route].observe(seconds)

    def predicted(self, model: LoadedModel, predictions: Sequence[Prediction], seconds: float) -> None:
        """Counts predicted rows by class, and notes how long the model took for all of them."""
        self._inference.by_label[model.runtime.name].observe(seconds)
        for prediction in predictions:
            self._predictions.counts[model.version, _class_label(model, prediction)] += 1

    def served(self, model: LoadedModel) -> None:
        """Names the model that `latest` means from now on."""
        self._info.clear()
        self._info.labels(model.name, model.version, model.digest, model.release, model.runtime.name).set(1)

    def registry_error(self, operation: str) -> None:
        """Counts a question that MLflow left unanswered."""
        self._registry_errors.counts[operation,] += 1

    def hit(self) -> None:
        """Counts a version found in memory."""
        self._hits.counts[()] += 1

    def miss(self) -> None:
        """Counts a version not found in memory."""
        self._misses.counts[()] += 1

    def loaded(self, model: LoadedModel) -> None:  # noqa: ARG002  (the interface's)
        """Counts a loaded version."""
        self._loads.counts[()] += 1
        self._loaded.inc()

    def failed(self) -> None:
        """Counts a failed load."""
        self._failures.counts[()] += 1

    def evicted(self, model: LoadedModel) -> None:
        """Forgets a version's series, so that their number stays bounded."""
        self._loaded.dec()
        counts = self._predictions.counts
        for labels in [labels for labels in counts if labels[0] == model.version]:
            del counts[labels]


def _class_label(model: LoadedModel, prediction: Prediction) -> str:
    """Names the class that was predicted; empty for regression, which has none."""
    if not model.spec.classes:
        return ""
    if len(model.spec.classes) <= _MOST_CLASSES or prediction.prediction in model.spec.classes[:_MOST_CLASSES]:
        return str(prediction.prediction)
    return "other"
