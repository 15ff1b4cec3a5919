"""Puts the parts together: settings in, an application out."""

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
from serving.batching import Batcher
from serving.environment import SettingsError
from serving.metrics import Metrics
from serving.models import Models, open_models
from serving.predictor import Predictor
from serving.settings import Settings
from serving.sources import Sources
from serving.spans import NO_SPANS

if TYPE_CHECKING:
    from serving.shadow.sampling import Shadow
    from serving.tracing import Tracing

# Threads for predictions that would hold up others; more than a pod has cores would only take turns.
_WORKERS = 2


class Application(msgspec.Struct, frozen=True):
    """What a server needs: the ASGI application, what lets connections in, and what to tell when it shall stop."""

    asgi: Front
    gate: Gate
    draining: Draining


def create_app(settings: Settings) -> Application:
    """Makes the application. Nothing is contacted before its lifespan starts.

    Raises:
        SettingsError: when MODEL_DIR cannot be written, API keys cannot be read, or traces cannot be sent.
    """
    metrics, draining = Metrics(settings.drift_window_seconds), Draining()
    tracing, predictor_kind, front_kind = _traced(settings)
    spans = tracing or NO_SPANS
    keys = _keys(settings)
    if keys:
        metrics.keys(lambda: len(keys()))
    options = Options(
        access=Access(keys, settings.api_key_requests_per_second) if keys else None,
        cors=open_cors(settings.cors_origins),
        metrics_port=settings.metrics_port,
        path_prefix=settings.path_prefix,
        gzip_bytes=settings.gzip_answer_bytes,
        access_log=settings.access_log,
    )
    admission = Admission(settings.max_waiting_requests, settings.max_waiting_seconds)
    sources, folder = Sources(settings), _model_folder(settings)
    models = open_models(settings, sources, folder, metrics, spans)
    workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="predict")

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        following = asyncio.create_task(models.run())
        if shadow:
            shadow.start()
        try:
            async with rpc():
                yield
        finally:
            if shadow:
                await shadow.aclose()
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
    shadow, batcher_kind = _shadowed(models, settings.shadow_sample, metrics)
    batcher = batcher_kind(workers, _WORKERS, admission, settings.max_queue_seconds, metrics.predicted)
    predictor = predictor_kind(models.main, batcher, admission, settings.max_rows, metrics.unknown)
    rpc = _rpc(settings, about, admission, metrics, predictor, models, options.access)
    ours = version("serving")
    bodies = BodyReader(settings.max_body_bytes)
    predictions = Predictions(predictor, models, bodies, settings.max_rows, ours)
    invocations = Invocations(predictor, models, about, bodies, ours)
    docs = Docs(lambda: openapi.document(table, models, settings.max_rows, ours), settings.path_prefix)
    table = routes(about, predictions, invocations, docs)
    front = front_kind(table, UNMATCHED, lifespan, metrics, draining, options)
    return Application(front, Gate(admission, front.routes, metrics, settings.max_connections), draining)


def _traced(settings: Settings) -> "tuple[Tracing | None, type[Predictor], Callable[..., Front]]":
    """Gives what sends spans, and the classes that requests go through: where nothing is traced, the plain ones."""
    if not settings.tracing:
        return None, Predictor, Front
    try:
        # Imported here, because whoever does not trace need not pay for it.
        from serving.api.traced import TracedFront, TracedPredictor  # noqa: PLC0415
        from serving.tracing import open_tracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"TRACING is true, but {error.name} is not installed: install serving with its extra `traces`"
        ) from None
    tracing = open_tracing(settings.model_name, os.environ)
    return tracing, TracedPredictor, partial(TracedFront, tracing.tracer)


def _shadowed(models: Models, sample: float, metrics: Metrics) -> "tuple[Shadow | None, Callable[..., Batcher]]":
    """Gives what compares a shadow, and what runs models: where there is no shadow, the plain class."""
    if not models.shadow:
        return None, Batcher
    from serving.shadow.sampling import Shadow, ShadowedBatcher  # noqa: PLC0415  (as above)

    shadow = Shadow(models.shadow, sample, metrics)
    return shadow, partial(ShadowedBatcher, shadow)


def _rpc(
    settings: Settings,
    about: About,
    admission: Admission,
    metrics: Metrics,
    predictor: Predictor,
    models: Models,
    access: Access | None,
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """Gives what serves gRPC as long as the application runs, if that is wanted."""
    if not settings.grpc_port:
        return contextlib.nullcontext
    try:
        # Imported here, because whoever does not serve it need not pay for it.
        from serving.rpc.server import Options, Service, serving  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"GRPC_PORT is set, but {error.name} is not installed: install serving with its extra `grpc`"
        ) from None
    options = Options(
        host=settings.host,
        port=settings.grpc_port,
        message_bytes=settings.max_body_bytes,
        grace_seconds=settings.shutdown_grace_seconds,
    )
    return partial(serving, options, Service(admission, metrics, predictor, models, about, access), about)


def _keys(settings: Settings) -> Callable[[], Keys] | None:
    if settings.api_keys_file:
        return KeyFile(Path(settings.api_keys_file))
    if settings.api_keys:
        keys = parse_keys(settings.api_keys, "API_KEYS")
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
