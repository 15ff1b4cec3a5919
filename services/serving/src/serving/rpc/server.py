"""The Open Inference Protocol over gRPC, with the data plane of HTTP, and gRPC's health and reflection services."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, TypeAlias

import grpc
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving.admission import Admission
from serving.api.access import Access
from serving.api.handlers import About
from serving.api.identity import Identities
from serving.api.problems import told
from serving.errors import OverloadedError, UnavailableError, UnknownVersionError
from serving.loader import LoadedModel
from serving.metrics import Metrics
from serving.models import Models
from serving.openinference import mapping
from serving.openinference.rows import rows as rows_of
from serving.predictor import Predictor
from serving.rpc import schema, tensors
from serving.rpc.arrivals import Arrivals, BoundedReading, Context, refuse
from serving.versions.base import LATEST

Answer: TypeAlias = Callable[[Any, Context], Awaitable[Any]]

# The codes by the status of the same error over HTTP. Metrics also use that status.
_CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_OK, _CALLER_GONE = 200, 499
# Statuses of calls whose message did not arrive.
_STATUSES: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: 408,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
}
# The routes in metrics: those of the same requests over HTTP, so that rules and panels include both.
_ROUTES: Mapping[str, str] = {
    "ServerLive": "/v2/health/live",
    "ServerReady": "/v2/health/ready",
    "ServerMetadata": "/v2",
    "ModelReady": "/v2/models/{model_name}/ready",
    "ModelMetadata": "/v2/models/{model_name}",
    "ModelInfer": "/v2/models/{model_name}/infer",
}
# Calls of monitoring systems, which need no keys.
_PROBES = frozenset({"ServerLive", "ServerReady"})
_INFER = "ModelInfer"
_LOOK_SECONDS = 0.25
# The size of a message without its tensors.
_FRAME_BYTES = 64 * 1024
# How many messages may arrive at once: as many as long bodies over HTTP, and some of probes and reflection.
_MESSAGES_AT_ONCE, _PROBES_AT_ONCE = 32, 8
# What a caller may send before its message is read, and how many calls gRPC itself may queue.
_WINDOW_BYTES = 64 * 1024 - 1
_HTTP2_FRAME_BYTES = 1024 * 1024
_MOST_QUEUED = 1000


class Options(msgspec.Struct, frozen=True):
    """The address of the server, and the bounds of calls.

    `message_bytes` bounds the tensors of a message, `connections` the number of connections, and `calls` those of each.
    Calls that are in progress when the server stops get `grace_seconds`.
    """

    host: str
    port: int
    message_bytes: int
    connections: int
    calls: int
    grace_seconds: float


class Service:
    """Answers the protocol's methods.

    `on_asked` is called for each call that is about to be answered, with its id and the owner of its key.

    Attributes:
        probes: The arriving messages of probes.
    """

    def __init__(
        self,
        admission: Admission,
        metrics: Metrics,
        predictor: Predictor,
        models: Models,
        about: About,
        access: Access | None,
        on_asked: Callable[[bytes, str], None] | None = None,
    ) -> None:
        self.probes = Arrivals(_PROBES_AT_ONCE, admission.limit)
        self._arrivals = Arrivals(_MESSAGES_AT_ONCE, admission.limit)
        self._admission = admission
        self._metrics = metrics
        self._predictor = predictor
        self._models = models
        self._about = about
        self._access = access
        self._on_asked = on_asked
        self._told = schema.message("ServerMetadataResponse")(name="serving", version=version("serving"))
        self._identities = Identities()
        self._answers: dict[str, Answer] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._metadata,
            "ModelMetadata": self._model_metadata,
            _INFER: self._infer,
        }

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler to register with a gRPC server.

        To gRPC its requests are streams of one message each: otherwise gRPC would read a message before it calls a
        method.
        """
        methods = {
            method: grpc.stream_unary_rpc_method_handler(
                self._road(method),
                request_deserializer=schema.message(f"{method}Request").FromString,
                response_serializer=schema.message(f"{method}Response").SerializeToString,
            )
            for method in schema.METHODS
        }
        return grpc.method_handlers_generic_handler(schema.SERVICE, methods)

    def _road(self, method: str) -> Answer:
        """Return a handler that checks access, answers the call or reports the error, and counts it, like `Front`."""
        route, answer = _ROUTES[method], self._answers[method]
        arrivals = self.probes if method in _PROBES else self._arrivals
        admitted = partial(self._admitted, answer) if method == _INFER else answer

        async def serve(_: Any, context: Context) -> Any:
            start, status = time.perf_counter(), _CALLER_GONE
            headers = _headers(context)
            identity = self._identities.of(headers.get(b"x-request-id"))
            self._metrics.in_flight += 1
            try:
                owner = ""
                if self._access is not None and method not in _PROBES:
                    owner = self._access.check(headers)
                request = await arrivals.only(context)
                start = time.perf_counter()
                if self._on_asked is not None:
                    self._on_asked(identity, owner)
                made = await admitted(request, context)
                status = _OK
            except grpc.aio.AbortError:
                status = _STATUSES[context.code()]
                raise
            except Exception as error:  # noqa: BLE001  (reported in gRPC's form)
                status, detail, more = told(error, identity)
                trailers = (("x-request-id", identity.decode()), *more.items())
                await refuse(context, _CODES.get(status, grpc.StatusCode.INTERNAL), detail, trailers)
            else:
                return made
            finally:
                self._metrics.in_flight -= 1
                self._metrics.answered(route, "gRPC", str(status), time.perf_counter() - start)

        return serve

    async def _admitted(self, answer: Answer, request: Any, context: Context) -> Any:
        if self._admission.full:
            raise OverloadedError
        self._admission.came()
        try:
            return await answer(request, context)
        finally:
            self._admission.answered()

    async def _live(self, _: Any, __: Context) -> Any:
        return schema.message("ServerLiveResponse")(live=True)

    async def _ready(self, _: Any, __: Context) -> Any:
        return schema.message("ServerReadyResponse")(ready=self._about.is_ready)

    async def _model_ready(self, request: Any, _: Context) -> Any:
        try:
            await self._model(request.name, request.version)
        except (UnavailableError, UnknownVersionError):
            return schema.message("ModelReadyResponse")(ready=False)
        return schema.message("ModelReadyResponse")(ready=True)

    async def _metadata(self, _: Any, __: Context) -> Any:
        return self._told

    async def _model_metadata(self, request: Any, _: Context) -> Any:
        model = await self._model(request.name, request.version)
        versions = self._models.find(request.name)
        loaded = sorted((each.version for each in versions.loaded), key=int)
        told_of = mapping.metadata(model, loaded)
        response = schema.message("ModelMetadataResponse")(
            name=told_of.name, versions=told_of.versions, platform=told_of.platform
        )
        for ours, theirs in ((told_of.inputs, response.inputs), (told_of.outputs, response.outputs)):
            for tensor in ours:
                theirs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        return response

    async def _infer(self, request: Any, context: Context) -> Any:
        inference = tensors.read(request)
        model = await self._model(request.model_name, request.model_version)
        rows = self._predictor.read(model, lambda found: rows_of(model, found), inference.tensors)
        result = await self._predictor.infer(model, rows, "inputs[{}]")
        response = schema.message("ModelInferResponse")(
            model_name=model.name, model_version=model.release or model.version, id=inference.id
        )
        tensors.write(response, inference, mapping.outputs(model, result))
        context.set_trailing_metadata((("x-model-version", model.version),))
        return response

    async def _model(self, name: str, wanted: str) -> LoadedModel:
        return await self._predictor.model(self._models.find(name), wanted or LATEST)


@contextlib.asynccontextmanager
async def serving(options: Options, service: Service, about: About) -> AsyncIterator[None]:
    """Serve inside the block until `about.ending` is set. Calls in progress then get `grace_seconds`."""
    server = grpc.aio.server(
        interceptors=(BoundedReading(f"/{schema.SERVICE}/", service.probes),), options=_channel_options(options)
    )
    server.add_generic_rpc_handlers((service.handler(),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    services = (schema.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(services, server, pool=_described())
    host = options.host.removeprefix("[").removesuffix("]")
    server.add_insecure_port(f"[{host}]:{options.port}" if ":" in host else f"{host}:{options.port}")
    await server.start()
    following = asyncio.create_task(_follow(checks, about))
    stopping = asyncio.create_task(_stop(server, about.ending, options.grace_seconds))
    try:
        yield
    finally:
        about.ending.set()
        await stopping
        following.cancel()


def _channel_options(options: Options) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", options.message_bytes + _FRAME_BYTES),
        ("grpc.max_allowed_incoming_connections", options.connections),
        ("grpc.max_concurrent_streams", options.calls),
        ("grpc.server.max_pending_requests", _MOST_QUEUED),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_QUEUED),
        # gRPC would increase the window for fast callers, to many megabytes.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        # With the default of 16 KB, a long message takes a tenth more CPU time.
        ("grpc.http2.max_frame_size", _HTTP2_FRAME_BYTES),
        ("grpc.so_reuseport", 0),
    )


def _described() -> Any:
    """Return the pool of all files that reflection lists."""
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        schema.POOL.AddSerializedFile(file.serialized_pb)
    return schema.POOL


async def _stop(server: grpc.aio.Server, ending: asyncio.Event, grace_seconds: float) -> None:
    await ending.wait()
    await server.stop(grace_seconds)


async def _follow(checks: health.aio.HealthServicer, about: About) -> None:
    """Keep the status of gRPC's health service up to date, for the whole server and for the protocol's service."""
    said = None
    while True:
        ready = about.is_ready
        if ready != said:
            status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
            for name in ("", schema.SERVICE):
                await checks.set(name, status)
            said = ready
        await asyncio.sleep(_LOOK_SECONDS)


def _headers(context: Context) -> dict[bytes, bytes]:
    """Return a call's metadata as bytes, like HTTP headers."""
    found = context.invocation_metadata() or ()
    return {
        key.encode(): value if isinstance(value, bytes) else value.encode("ascii", "replace") for key, value in found
    }
