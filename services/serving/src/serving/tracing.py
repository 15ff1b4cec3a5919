"""Traces, if TRACING is on: OpenTelemetry's SDK, which sends spans over OTLP/HTTP. Imported only then.

Its work is bounded: at most OTEL_BSP_MAX_QUEUE_SIZE spans wait for the thread that sends them, and further spans are
dropped. So a collector that is slow or unavailable costs spans and nothing else.
"""

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

from serving.environment import SettingsError
from serving.spans import Attributes, Spans

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
# How long the process waits at its end until the last spans are sent.
_FLUSH_SECONDS = 2.0


class Tracing(Spans):
    """Sends spans to a collector."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer: Tracer = provider.get_tracer("serving", version("serving"))

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[None]:
        """Create a span of the work inside the block."""
        with self.tracer.start_as_current_span(name, attributes=attributes):
            yield

    async def aclose(self) -> None:
        """Send the remaining spans, if the collector accepts them at once."""
        # Not in the loop's executor: the process waits for its threads at the end, and a connection may fail slowly.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _FLUSH_SECONDS)


class _Announcing(SpanExporter):
    """Logs once when spans begin to be lost, and once when they arrive again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            logger.warning("traces are lost: the collector does not accept them")
        elif self._failing and not failing:
            logger.info("the collector accepts traces again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def open_tracing(model_name: str, environ: Mapping[str, str]) -> Tracing:
    """Set up tracing from the OTEL_* variables. Nothing is contacted before there is a span.

    Raises:
        SettingsError: if they name an address or a protocol that is not supported.
    """
    _check(environ)
    # The exporter logs every failed attempt and every failed batch. `_Announcing` replaces both.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    resource = Resource.create(
        {
            "service.name": "serving",
            "service.version": version("serving"),
            "service.instance.id": socket.gethostname(),
            "model.name": model_name,
        }
    ).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Announcing(OTLPSpanExporter())))
    return Tracing(provider)


def _check(environ: Mapping[str, str]) -> None:
    for name in _ENDPOINTS:
        endpoint = environ.get(name, "").strip()
        if endpoint and not re.fullmatch(r"https?://\S+", endpoint):
            raise SettingsError(f"{name} is {endpoint!r}, but takes an address that starts with http:// or https://")
    for name in _PROTOCOLS:
        protocol = environ.get(name, "").strip()
        if protocol and protocol != _PROTOCOL:
            raise SettingsError(f"{name} is {protocol!r}, but traces are sent as {_PROTOCOL} only")
