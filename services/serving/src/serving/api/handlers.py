"""Handlers about the process: its health, its metrics, and the model that /predict uses."""

import asyncio

import msgspec
from msgspec import UNSET
from prometheus_client import CONTENT_TYPE_LATEST

from serving.api.draining import Draining
from serving.api.routes import Answer, Call
from serving.columns import Column
from serving.errors import NotReadyError
from serving.metrics import Metrics
from serving.models import Models
from serving.schemas import ColumnInfo, Example, Health, Live, ModelHealth, ModelInfo, Ready
from serving.versions.base import VersionManager


def answered(body: msgspec.Struct, status: int = 200) -> Answer:
    """Return an answer with a struct as JSON."""
    return Answer(msgspec.json.encode(body), status=status)


class About:
    """Reports on the process and its models."""

    def __init__(self, models: Models, draining: Draining, metrics: Metrics) -> None:
        self._models = models
        self._draining = draining
        self._metrics = metrics

    @property
    def ending(self) -> asyncio.Event:
        """Set when the servers accept no more requests."""
        return self._draining.ending

    @property
    def is_ready(self) -> bool:
        """Whether the process accepts requests."""
        return self._models.ready and not self._draining.active

    def require_ready(self) -> None:
        """Make sure that the process accepts requests.

        Raises:
            NotReadyError: with the reason, if it does not.
        """
        if self._draining.active:
            raise NotReadyError("The process is stopping.")
        self._models.require_all()

    async def live(self, _: Call) -> Answer:
        """Answer 200 from the moment that the server listens."""
        return answered(Live())

    async def ready(self, _: Call) -> Answer:
        """Answer 200 when every model is loaded and has answered a warm-up request, until SIGTERM."""
        self.require_ready()
        return answered(Ready())

    async def health(self, _: Call) -> Answer:
        """Report the state, with 200 while the process is ready and 503 otherwise."""
        told = [_health_of(versions) for versions in self._models]
        health = Health(
            live=True,
            ready=self.is_ready,
            draining=self._draining.active,
            problem=self._models.problem,
            model_version=told[0].version,
            models=told,
            shadow=self._models.shadow.health if self._models.shadow else UNSET,
        )
        return answered(health, 200 if health.ready else 503)

    async def metrics(self, _: Call) -> Answer:
        """Return all metrics in Prometheus' text format."""
        return Answer(self._metrics.text(), CONTENT_TYPE_LATEST.encode())

    async def model_info(self, _: Call) -> Answer:
        """Describe the model that /predict uses: the version that `latest` means, its inputs, outputs and origin.

        /v2/models/NAME describes the other models that this process serves.
        """
        versions = self._models.main
        model = versions.latest()
        info = ModelInfo(
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
            inputs=list(map(_column, model.spec.columns)),
            input_example=Example(list(model.example)),
            loaded_versions=sorted((loaded.version for loaded in versions.loaded), key=int),
            problem=versions.problem,
        )
        return answered(info)


def _column(column: Column) -> ColumnInfo:
    return ColumnInfo(column.name, column.type, column.kind, column.optional, column.categories, column.unknown)


def _health_of(versions: VersionManager) -> ModelHealth:
    served = versions.current
    return ModelHealth(
        versions.name, served.version if served else None, served.digest if served else None, versions.problem
    )
