"""GET /health/live, /health/ready and /health."""

from litestar import get
from litestar.openapi.datastructures import ResponseSpec

from serving.api.service import Service
from serving.errors import NotReadyError
from serving.schemas import Health, Live, ModelHealth, Problem, Ready
from serving.versions.base import VersionManager

NOT_READY = {503: ResponseSpec(Problem, description="A model is not loaded yet, or the process is about to stop")}


@get("/health/live", sync_to_thread=False, tags=["health"], summary="Whether the process answers")
def live() -> Live:
    """Answers 200 from the moment that the server listens."""
    return Live()


@get(
    "/health/ready", sync_to_thread=False, tags=["health"], summary="Whether to send requests here", responses=NOT_READY
)
def ready(service: Service) -> Ready:
    """Answers 200 once every model is loaded and has answered a warm-up request, until the process is told to stop."""
    if service.draining.active:
        raise NotReadyError("The process has been told to stop.")
    service.models.require_all()
    return Ready()


@get("/health", sync_to_thread=False, tags=["health"], summary="Both, for people")
def health(service: Service) -> Health:
    """Answers 200 always, and says what is going on."""
    told = [_of(versions) for versions in service.models]
    return Health(
        live=True,
        ready=service.ready,
        draining=service.draining.active,
        problem=service.models.problem,
        model_version=told[0].version,
        models=told,
    )


def _of(versions: VersionManager) -> ModelHealth:
    served = versions.current
    return ModelHealth(
        versions.name, served.version if served else None, served.digest if served else None, versions.problem
    )
