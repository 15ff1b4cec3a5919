"""GET /health/live, /health/ready and /health."""

from litestar import get
from litestar.openapi.datastructures import ResponseSpec

from serving.api.draining import Draining
from serving.errors import NotReadyError
from serving.schemas import Health, Live, Problem, Ready
from serving.versions.base import VersionManager

NOT_READY = {503: ResponseSpec(Problem, description="No model is loaded yet, or the process is about to stop")}


@get("/health/live", sync_to_thread=False, tags=["health"], summary="Whether the process answers")
def live() -> Live:
    """Answers 200 from the moment that the server listens."""
    return Live()


@get(
    "/health/ready", sync_to_thread=False, tags=["health"], summary="Whether to send requests here", responses=NOT_READY
)
def ready(versions: VersionManager, draining: Draining) -> Ready:
    """Answers 200 once a model is loaded and has answered a warm-up request, until the process is told to stop."""
    if draining.active:
        raise NotReadyError("The process has been told to stop.")
    versions.latest()
    return Ready()


@get("/health", sync_to_thread=False, tags=["health"], summary="Both, for people")
def health(versions: VersionManager, draining: Draining) -> Health:
    """Answers 200 always, and says what is going on."""
    current = versions.current
    return Health(
        live=True,
        ready=current is not None and not draining.active,
        draining=draining.active,
        problem=versions.problem,
        model_version=current.version if current else None,
    )
