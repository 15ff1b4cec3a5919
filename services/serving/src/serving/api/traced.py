"""Requests as spans. Replaces `Front` and `Predictor` if TRACING is on, and is imported only then."""

from typing import Any

from litestar.types import Receive, Send
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.api.front import METHODS, NO_ANSWER, Front
from serving.api.routes import Parameters, Route
from serving.api.table import UNMATCHED
from serving.loader import LoadedModel
from serving.predictor import Predictor
from serving.runtimes.base import Matrix
from serving.schemas import NumbersRequest, PredictRequest, PredictResponse, WrittenBatch

_W3C = TraceContextTextMapPropagator()
_CONTEXT = (b"traceparent", b"tracestate")


class TracedFront(Front):
    """Creates a span for every request except probes and scrapes, in the caller's trace if the request names one."""

    def __init__(self, tracer: Tracer, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._tracer = tracer

    async def serve(self, route: Route, parameters: Parameters, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request by its route."""
        if route.probe:
            await super().serve(route, parameters, scope, receive, send)
            return
        carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CONTEXT}
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        span = self._tracer.start_span(
            method,
            # Empty if the request names no trace: the current span may be an earlier request of the connection.
            context=_W3C.extract(carrier) if carrier else Context(),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.path": scope["path"], "url.scheme": scope["scheme"]},
        )
        # `start_as_current_span` would also record exceptions, but none arrive here: `Front` answers them.
        token = attach(trace.set_span_in_context(span))
        try:
            await super().serve(route, parameters, scope, receive, send)
        finally:
            detach(token)
            span.end()

    def _note(self, route: Route, scope: Any, status: int, seconds: float, identity: bytes) -> None:
        super()._note(route, scope, status, seconds, identity)
        span = trace.get_current_span()
        if not span.is_recording():
            return
        span.set_attribute("request.id", identity.decode())
        if route not in UNMATCHED.values():
            span.update_name(f"{scope['method']} {route.path}")
            span.set_attribute("http.route", route.path)
        if status == NO_ANSWER:
            span.set_attribute("error.type", "caller_gone")
            return
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)


class TracedPredictor(Predictor):
    """Adds the model and version that answer a request to its span."""

    async def predict(
        self, request: PredictRequest | NumbersRequest
    ) -> tuple[LoadedModel, PredictResponse | WrittenBatch]:
        """Answer one request. Return the model as well."""
        model, answer = await super().predict(request)
        span = trace.get_current_span()
        span.set_attribute("model.name", model.name)
        span.set_attribute("model.version", model.version)
        return model, answer

    async def infer(self, model: LoadedModel, rows: Matrix, name: str) -> Matrix:
        """Run a model on a matrix."""
        span = trace.get_current_span()
        span.set_attribute("model.name", model.name)
        span.set_attribute("model.version", model.version)
        span.set_attribute("request.rows", len(rows))
        return await super().infer(model, rows, name)
