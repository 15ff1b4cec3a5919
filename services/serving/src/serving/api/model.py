"""GET /model/info."""

from litestar import get

from serving.api.health import NOT_READY
from serving.api.service import Service
from serving.schemas import ColumnInfo, Example, ModelInfo


@get("/model/info", sync_to_thread=False, tags=["model"], summary="The model that /predict asks", responses=NOT_READY)
def model_info(service: Service) -> ModelInfo:
    """Tells which version of it `latest` means, what it takes and gives, and where it came from.

    Of the other models that this process serves, /v2/models/NAME tells.
    """
    versions = service.models.main
    model = versions.latest()
    return ModelInfo(
        name=model.name,
        version=model.version,
        digest=model.digest,
        release=model.release,
        mode=versions.mode,
        stage=versions.stage,
        runtime=model.runtime.name,
        task=model.spec.task,
        target=model.spec.target,
        classes=list(model.spec.classes),
        inputs=[ColumnInfo(column.name, column.type) for column in model.spec.columns],
        input_example=Example(list(model.example)),
        loaded_versions=sorted((loaded.version for loaded in versions.loaded), key=int),
        problem=versions.problem,
    )
