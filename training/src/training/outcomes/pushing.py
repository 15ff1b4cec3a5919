"""Send a report to Prometheus through a Pushgateway, because a job that ends cannot be scraped."""

import time
from collections.abc import Iterator
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, push_to_gateway
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from training.errors import BadInputError, OutageError
from training.outcomes.figures import Figure
from training.outcomes.report import Report, VersionReport

_ATTEMPTS = 3
_SECONDS = 10
_VERSION = ("model_name", "model_version", "release")
# Each slice is one series for each metric.
_MOST_SLICES = 100


class Figures(Collector):
    """A report as gauges.

    The labels `job` (the service) and `namespace` are those of the pushed group, so that alerts and dashboards find
    them together with the metrics of the service's pods.
    """

    def __init__(self, report: Report, now: float) -> None:
        """Keep a report, and the current time in seconds since 1970."""
        self._report = report
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        report = self._report
        refused = _gauge("model_outcomes_refused", "What was not joined, by reason", ("reason",))
        for reason, count in report.refused.items():
            refused.add_metric((reason,), count)
        yield refused
        yield GaugeMetricFamily("model_outcomes_joined", "Rows of the log whose truth is known", report.joined)
        yield GaugeMetricFamily("model_outcomes_timestamp_seconds", "When log and truth were last joined", self._now)
        yield from _quality(report)
        rows = _gauge("model_realised_rows", "Rows behind the realised metrics", _VERSION)
        for version in report.versions:
            if version.realised is not None:
                rows.add_metric(_labels(version), version.realised.rows)
        yield rows
        yield from _expected(report)
        yield _slices(report)


def push(report: Report, gateway: str, namespace: str) -> None:
    """Push a report, which replaces the previous one.

    Args:
        report: What to push.
        gateway: The Pushgateway's address, `http://HOST:PORT`.
        namespace: The namespace of the service.

    Raises:
        BadInputError: The address is not valid.
        OutageError: The Pushgateway does not answer, or refuses the report.
    """
    parts = urlsplit(gateway)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInputError(f"--push: {gateway!r} is not of the form http://HOST:PORT.")
    registry = CollectorRegistry()
    registry.register(Figures(report, time.time()))
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            push_to_gateway(gateway, report.service, registry, {"namespace": namespace}, timeout=_SECONDS)
        except HTTPError as error:
            text = " ".join(error.read(500).decode(errors="replace").split())
            raise OutageError(f"The Pushgateway at {gateway} answers {error.code}: {text}") from error
        except (OSError, HTTPException) as error:
            if attempt == _ATTEMPTS:
                reason = getattr(error, "reason", None) or error
                raise OutageError(f"The Pushgateway at {gateway} does not answer ({reason}).") from error
            time.sleep(attempt)
        else:
            return


def _quality(report: Report) -> Iterator[Metric]:
    for name, what in (("realised", "Of answers whose truth is known"), ("estimated", "Estimated from confidences")):
        value = _gauge(f"model_{name}", f"{what}: a metric", (*_VERSION, "metric"))
        lower = _gauge(f"model_{name}_lower", f"{what}: the lower end of its 95 % interval", (*_VERSION, "metric"))
        upper = _gauge(f"model_{name}_upper", f"{what}: the upper end of its 95 % interval", (*_VERSION, "metric"))
        for version in report.versions:
            for metric, figure in _figures(version, name):
                labels = (*_labels(version), metric)
                value.add_metric(labels, figure.value)
                lower.add_metric(labels, figure.value if figure.lower is None else figure.lower)
                upper.add_metric(labels, figure.value if figure.upper is None else figure.upper)
        yield from (value, lower, upper)


def _figures(version: VersionReport, name: str) -> Iterator[tuple[str, Figure]]:
    if name == "realised" and version.realised is not None:
        yield from version.realised.metrics.items()
    if name == "estimated" and version.estimated is not None:
        yield "accuracy", version.estimated.accuracy


def _expected(report: Report) -> Iterator[Metric]:
    held_out = _gauge("model_held_out", "What the version reached on held-out rows", (*_VERSION, "metric"))
    bound = _gauge("model_gate_bound", "What the gate requires of the version", (*_VERSION, "metric", "relation"))
    for version in report.versions:
        for metric, value in version.held_out.items():
            held_out.add_metric((*_labels(version), metric), value)
        # Only for the current version, so that no alert fires for one that no longer runs.
        for metric, asked in version.gate.items() if version.current else ():
            bound.add_metric((*_labels(version), metric, asked.relation), asked.value)
    yield from (held_out, bound)


def _slices(report: Report) -> Metric:
    family = _gauge("model_realised_slice", "Of the current version's rows of a slice", (*_VERSION, "metric", "slice"))
    current = report.current
    if current is not None and current.realised is not None:
        for found in current.realised.slices[:_MOST_SLICES]:
            for metric, figure in found.metrics.items():
                family.add_metric((*_labels(current), metric, f"{found.column}={found.value}"), figure.value)
    return family


def _gauge(name: str, what: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, labels=labels)


def _labels(version: VersionReport) -> tuple[str, str, str]:
    return version.model, version.version, version.release or ""
