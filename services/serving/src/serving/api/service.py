"""What the handlers are given by Litestar."""

from typing import Any

from litestar.events import BaseEventEmitterBackend

from serving.api.draining import Draining
from serving.models import Models


class Service:
    """The models, and whether the process is about to stop.

    One dependency, not one each: Litestar would find several by starting a task each, at every probe.
    """

    def __init__(self, models: Models, draining: Draining) -> None:
        self.models = models
        self.draining = draining

    @property
    def ready(self) -> bool:
        """Whether requests are welcome."""
        return self.models.ready and not self.draining.active


class NoEvents(BaseEventEmitterBackend):
    """Stands for Litestar's events, of which there are none here. Its own would keep a task and 1 MB."""

    def emit(self, event_id: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    async def __aexit__(self, *error: object) -> None:
        """Nothing is left to do."""
