"""Builds the application from its settings."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from litestar import Litestar

from serving.admission import Admission
from serving.api import openapi
from serving.api.access import Access, KeyFile, Keys, parse_keys
from serving.api.body import BodyReader
from serving.api.cors import open_cors
from serving.api.draining import Draining
from serving.api.front import Front, Options
from serving.api.gate import Gate
from serving.api.handlers import About
from serving.api.invocations import Invocations
from serving.api.page import Docs
from serving.api.predict import Predictions
from serving.api.table import UNMATCHED, routes
from serving.asked import note
from serving.batching import Batcher, WatchedBatcher, Watcher
from serving.environment import SettingsError
from serving.metrics import Metrics
from serving.models import Models, open_models
from serving.predictor import Predictor
from serving.settings import Settings
from serving.sources import Sources
from serving.spans import NO_SPANS

if TYPE_CHECKING:
    from serving.api.explain import Explaining
    from serving.api.feedback import Feedback
    from serving.log.sampling import PredictionLog
    from serving.shadow.sampling import Shadow
    from serving.tracing import Tracing

# Threads for predictions that would block the event loop. More threads than the cores of a pod would only take turns.
_WORKERS = 2


class Application(msgspec.Struct, frozen=True):
    """What a server needs: the ASGI application, the gate for connections, and the flag to set when it stops."""

    asgi: Front
    gate: Gate
    draining: Draining


def create_app(settings: Settings) -> Application:
    """Create the application. It contacts no other server before its lifespan starts.

    Raises:
        SettingsError: if MODEL_DIR cannot be written, API keys cannot be read, or traces cannot be sent.
    """
    metrics, draining = Metrics(settings.drift_window_seconds), Draining()
    tracing, predictor_kind, front_kind = _traced(settings)
    spans = tracing or NO_SPANS
    options = _options(settings, metrics)
    admission = Admission(settings.max_waiting_requests, settings.max_waiting_seconds)
    sources, folder = Sources(settings), _model_folder(settings)
    models = open_models(settings, sources, folder, metrics, spans)
    workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="predict")

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        following = asyncio.create_task(models.run())
        if log:
            log.start()
        if shadow:
            shadow.start()
        try:
            async with rpc():
                yield
        finally:
            if explaining:
                await explaining.aclose()
            if shadow:
                await shadow.aclose()
            if log:
                await log.aclose()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await sources.aclose()
            workers.shutdown(wait=False, cancel_futures=True)
            if tracing:
                await tracing.aclose()
            if not settings.model_dir:
                shutil.rmtree(folder, ignore_errors=True)

    about = About(models, draining, metrics)
    metrics.ready.set_function(lambda: float(about.is_ready))
    log = _log(settings, metrics)
    shadow, batcher_kind = _watched(models, settings, metrics, log)
    batcher = batcher_kind(workers, _WORKERS, admission, settings.max_queue_seconds, metrics.predicted)
    predictor = predictor_kind(models.main, batcher, admission, settings.max_rows, metrics.unknown)
    rpc = _rpc(settings, about, admission, metrics, predictor, models, options)
    ours = version("serving")
    bodies = BodyReader(settings.max_body_bytes)
    predictions = Predictions(predictor, models, bodies, settings.max_rows, ours)
    invocations = Invocations(predictor, models, about, bodies, ours)
    explaining = _explaining(settings, predictor, models, bodies, admission, metrics)
    docs = Docs(
        lambda: openapi.document(table, models, settings.max_rows, settings.explain_rows, ours), settings.path_prefix
    )
    table = routes(about, predictions, invocations, docs, explaining, _feedback(settings, log, bodies))
    front = front_kind(table, UNMATCHED, lifespan, metrics, draining, options)
    return Application(front, Gate(admission, front.routes, metrics, settings.max_connections), draining)


def _traced(settings: Settings) -> "tuple[Tracing | None, type[Predictor], Callable[..., Front]]":
    """Return what sends spans, and the classes that handle requests. Without tracing these are the plain ones."""
    if not settings.tracing:
        return None, Predictor, Front
    try:
        # Imported here, so that only deployments that use it pay for it.
        from serving.api.traced import TracedFront, TracedPredictor  # noqa: PLC0415
        from serving.tracing import open_tracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"TRACING is true, but {error.name} is not installed: install serving with its extra `traces`"
        ) from None
    tracing = open_tracing(settings.model_name, os.environ)
    return tracing, TracedPredictor, partial(TracedFront, tracing.tracer)


def _log(settings: Settings, metrics: Metrics) -> "PredictionLog | None":
    if not settings.prediction_log:
        return None
    # Imported here, so that only deployments that use it pay for it.
    from serving.log.sampling import PredictionLog  # noqa: PLC0415

    return PredictionLog(settings, metrics)


def _explaining(
    settings: Settings,
    predictor: Predictor,
    models: Models,
    bodies: BodyReader,
    admission: Admission,
    metrics: Metrics,
) -> "Explaining | None":
    if not settings.explain:
        return None
    # Imported here, so that only deployments that use it pay for it.
    from serving.api.explain import Bounds, Explaining  # noqa: PLC0415
    from serving.explaining.queue import Limits, Queue  # noqa: PLC0415
    from serving.explaining.tally import ExplainTally  # noqa: PLC0415

    tally = ExplainTally()
    metrics.register(tally)
    queue = Queue(Limits(settings.explain_waiting, settings.explain_seconds), tally)
    bounds = Bounds(settings.explain_rows, settings.explain_evaluations)
    return Explaining(predictor, models, bodies, admission, queue, bounds, tally)


def _feedback(settings: Settings, log: "PredictionLog | None", bodies: BodyReader) -> "Feedback | None":
    if log is None or not settings.prediction_log_feedback:
        return None
    from serving.api.feedback import Feedback  # noqa: PLC0415  (as above)

    return Feedback(log, bodies, settings.max_rows)


def _watched(
    models: Models, settings: Settings, metrics: Metrics, log: "PredictionLog | None"
) -> "tuple[Shadow | None, Callable[..., Batcher]]":
    """Return the shadow, and the class that runs models. If nothing watches, it is the plain class."""
    # The log comes first: it marks the requests that it logs anyway, so that `differed` does not log them again.
    watchers: list[Watcher] = [log.computed] if log else []
    shadow = None
    if models.shadow:
        from serving.shadow.sampling import Shadow  # noqa: PLC0415  (as above)

        on_differed = log.differed if log and settings.prediction_log_shadow else None
        shadow = Shadow(models.shadow, settings.shadow_sample, metrics, on_differed)
        watchers.append(shadow.computed)
    return shadow, partial(WatchedBatcher, watchers) if watchers else Batcher


def _rpc(
    settings: Settings,
    about: About,
    admission: Admission,
    metrics: Metrics,
    predictor: Predictor,
    models: Models,
    road: Options,
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """Return the context that serves gRPC while the application runs, if it is switched on."""
    if not settings.grpc_port:
        return contextlib.nullcontext
    try:
        # Imported here, so that only deployments that use it pay for it.
        from serving.rpc.server import Options as RpcOptions  # noqa: PLC0415
        from serving.rpc.server import Service, serving  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"GRPC_PORT is set, but {error.name} is not installed: install serving with its extra `grpc`"
        ) from None
    options = RpcOptions(
        host=settings.host,
        port=settings.grpc_port,
        message_bytes=settings.max_body_bytes,
        connections=settings.max_connections,
        calls=settings.max_waiting_requests,
        grace_seconds=settings.shutdown_grace_seconds,
    )
    service = Service(admission, metrics, predictor, models, about, road.access, road.on_asked)
    return partial(serving, options, service, about)


def _options(settings: Settings, metrics: Metrics) -> Options:
    keys = _keys(settings)
    if keys:
        metrics.keys(lambda: len(keys()))
    return Options(
        access=Access(keys, settings.api_key_requests_per_second) if keys else None,
        on_asked=note if settings.prediction_log else None,
        cors=open_cors(settings.cors_origins),
        metrics_port=settings.metrics_port,
        path_prefix=settings.path_prefix,
        gzip_bytes=settings.gzip_answer_bytes,
        access_log=settings.access_log,
    )


def _keys(settings: Settings) -> Callable[[], Keys] | None:
    if settings.api_keys_file:
        return KeyFile(Path(settings.api_keys_file))
    if settings.api_keys:
        keys = parse_keys(settings.api_keys, "API_KEYS")
        if not keys:
            raise SettingsError("API_KEYS holds no keys, so nobody could be answered")
        return lambda: keys
    return None


def _model_folder(settings: Settings) -> Path:
    try:
        folder = Path(settings.model_dir or tempfile.mkdtemp(prefix="serving-"))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise SettingsError(
            f"MODEL_DIR is {settings.model_dir!r}, but no file can be written there ({error.strerror})"
        ) from None
