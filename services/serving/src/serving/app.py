"""Puts the parts together: settings in, an ASGI application out."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.di import Provide

from serving.admission import Admission
from serving.api.access import Access, KeyFile, parse_keys
from serving.api.body import BodyReader
from serving.api.draining import Draining
from serving.api.gate import Gate
from serving.api.health import health, live, ready
from serving.api.metrics import metrics as metrics_handler
from serving.api.model import model_info
from serving.api.observed import Observed
from serving.api.openapi import openapi_config
from serving.api.openinference import OpenInference
from serving.api.predict import PATH, predict_handler
from serving.api.problems import EXCEPTION_HANDLERS
from serving.api.routes import Routes
from serving.api.service import NoEvents, Service
from serving.batching import Batcher
from serving.environment import SettingsError
from serving.metrics import Metrics
from serving.models import open_models
from serving.predictor import Predictor
from serving.settings import Settings
from serving.sources import Sources
from serving.spans import NO_SPANS

if TYPE_CHECKING:
    from serving.tracing import Tracing

# Threads for predictions that would hold up others; more than a pod has cores would only take turns.
_WORKERS = 2


def create_app(settings: Settings) -> Observed:
    """Makes the application. Nothing is contacted before its lifespan starts.

    Raises:
        SettingsError: when MODEL_DIR cannot be written, API keys cannot be read, or traces cannot be sent.
    """
    metrics, draining = Metrics(settings.drift_window_seconds), Draining()
    tracing, predictor_kind, observed_kind = _traced(settings)
    spans = tracing or NO_SPANS
    admission = Admission(settings.max_waiting_requests, settings.max_waiting_seconds)
    gate = Gate(admission, metrics, settings.max_connections)
    sources, folder = Sources(settings), _model_folder(settings)
    models = open_models(settings, sources, folder, metrics, spans)
    service = Service(models, draining)
    metrics.ready.set_function(lambda: float(service.ready))
    workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="predict")

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        following = asyncio.create_task(models.run())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await sources.aclose()
            workers.shutdown(wait=False, cancel_futures=True)
            if tracing:
                await tracing.aclose()
            if not settings.model_dir:
                shutil.rmtree(folder, ignore_errors=True)

    batcher = Batcher(workers, _WORKERS, admission, settings.max_queue_seconds, metrics.predicted)
    predictor = predictor_kind(models.main, batcher, admission, settings.max_rows)
    bodies = BodyReader(settings.max_body_bytes)
    predict = predict_handler(predictor, bodies)
    open_inference = OpenInference(predictor, models, draining, bodies, version("serving"))
    app = Litestar(
        [live, ready, health, model_info, metrics_handler, predict],
        dependencies={
            "service": Provide(lambda: service, sync_to_thread=False),
            "measured": Provide(lambda: metrics, sync_to_thread=False),
        },
        event_emitter_backend=NoEvents,
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        logging_config=None,
        openapi_config=openapi_config(models, settings.max_rows, version("serving")),
    )
    routes = Routes(app, {PATH: predict.fn}, {"v2": open_inference}, _access(settings))
    return observed_kind(routes, metrics, draining, gate, access_log=settings.access_log)


def _traced(settings: Settings) -> "tuple[Tracing | None, type[Predictor], Callable[..., Observed]]":
    """Gives what sends spans, and the classes that requests go through: where nothing is traced, the plain ones."""
    if not settings.tracing:
        return None, Predictor, Observed
    try:
        # Imported here, because whoever does not trace need not pay for it.
        from serving.api.traced import TracedPredictor, TracedRequests  # noqa: PLC0415
        from serving.tracing import open_tracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"TRACING is true, but {error.name} is not installed: install serving with its extra `traces`"
        ) from None
    tracing = open_tracing(settings.model_name, os.environ)
    return tracing, TracedPredictor, partial(TracedRequests, tracing.tracer)


def _access(settings: Settings) -> Access | None:
    if settings.api_keys_file:
        return Access(KeyFile(Path(settings.api_keys_file)), settings.api_key_requests_per_second)
    if settings.api_keys:
        keys = parse_keys(settings.api_keys, "API_KEYS")
        return Access(lambda: keys, settings.api_key_requests_per_second)
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
