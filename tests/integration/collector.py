"""An OTLP/HTTP receiver, which decodes what it receives with OpenTelemetry's own definitions."""

import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from embedded.processes import LOOPBACK, free_port


class Span(msgspec.Struct, frozen=True):
    """A span as it arrived; ids are hexadecimal, and `parent` is empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    server: bool
    failed: bool
    attributes: Mapping[str, str | int]
    resource: Mapping[str, str | int]


class Collector:
    """A receiver on a fixed port, which listens inside the block and keeps all spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._port = free_port()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def __enter__(self) -> "Collector":
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                right = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
                if right:
                    spans.extend(_spans(sent))
                self.send_response(200 if right else 400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace: str) -> dict[str, Span]:
        """Return the spans of a trace, by name."""
        return {span.name: span for span in self.spans if span.trace == trace}


def _spans(sent: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            name=span.name,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            server=span.kind == ProtoSpan.SPAN_KIND_SERVER,
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
            attributes=_plain(span.attributes),
            resource=_plain(of_resource.resource.attributes),
        )
        for of_resource in sent.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _plain(pairs: "Iterable[KeyValue]") -> dict[str, str | int]:
    return {pair.key: pair.value.int_value or pair.value.string_value for pair in pairs}
