"""What both modes of the Version Manager share."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from modelformat.tags import PASSED
from serving.backoff import Backoff
from serving.cache import ModelCache
from serving.errors import NotReadyError, ServingError, UnknownVersionError
from serving.loader import LoadedModel, ModelSource
from serving.registry import RegisteredVersion, Registry
from serving.spans import NO_SPANS, Spans

logger = logging.getLogger(__name__)

LATEST = "latest"
# The problem before the first attempt.
LOADING = "the model is being loaded"
Listener = Callable[[LoadedModel], None]


class VersionManager(ABC):
    """Holds the version of one registered model that `latest` means, and finds others by name.

    `run` does the work in the background; the model changes only by one assignment, so a request sees the old one or
    the new one, whole.
    """

    mode: str
    # The alias that is followed, in stage mode.
    stage: str | None = None
    # What the log says when a version is loaded, and when it is not.
    served_message = "model served"
    not_served_message = "the requested model is not served"

    def __init__(
        self, name: str, cache: ModelCache, backoff: Backoff, on_change: Listener, spans: Spans = NO_SPANS
    ) -> None:
        self.name = name
        self._cache = cache
        self._backoff = backoff
        self._on_change = on_change
        self._spans = spans
        self._current: LoadedModel | None = None
        self._problem = LOADING

    @property
    def current(self) -> LoadedModel | None:
        """The model that `latest` means, once there is one."""
        return self._current

    @property
    def problem(self) -> str:
        """Why the wanted model is not the one served, in a sentence; empty when it is."""
        return self._problem

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """All versions of this model in memory."""
        return tuple(model for model in self._cache if model.name == self.name)

    def latest(self) -> LoadedModel:
        """Gives the model that this deployment serves.

        Raises:
            NotReadyError: when none is loaded yet.
        """
        if self._current is None:
            raise NotReadyError(f"Model {self.name!r} is not loaded yet: {self._problem}.")
        return self._current

    @abstractmethod
    async def get(self, wanted: str) -> LoadedModel:
        """Gives the model that a caller named: `latest`, a registry number, and in stage mode an alias or release.

        Raises:
            NotReadyError: when nothing is loaded yet.
            UnknownVersionError: when this deployment has no such version.
            UnavailableError: when it cannot be found out or loaded now.
        """

    @abstractmethod
    async def run(self) -> None:
        """Loads the model, and goes on for as long as there is something to follow."""

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Takes one step towards the wanted model. Tells whether that worked, and if not, only after a while."""
        try:
            with self._spans.span("find the requested model", {"model.name": self.name, "mode": self.mode}):
                await step()
        except ServingError as error:
            problem = str(error)
        except Exception as error:  # whatever goes wrong here, the next attempt must still be made
            logger.exception("loading failed unexpectedly")
            problem = f"an unexpected {type(error).__name__}, see the log"
        else:
            self._problem = ""
            self._backoff.reset()
            return True
        wait = self._backoff.next()
        if problem != self._problem:
            logger.warning(
                self.not_served_message,
                extra={"model": self.name, "reason": problem, "serving": self._serving()},
            )
        self._problem = problem
        await asyncio.sleep(wait)
        return False

    def _become(self, model: LoadedModel) -> None:
        previous, self._current = self._serving(), model
        self._cache.keep(model)
        self._on_change(model)
        logger.info(
            self.served_message,
            extra={
                "model": model.name,
                "version": model.version,
                "digest": model.digest,
                "runtime": model.runtime.name,
                "previous": previous,
            },
        )

    def _serving(self) -> str:
        return self._current.version if self._current else ""


async def registered_source(registry: Registry, name: str, found: RegisteredVersion) -> ModelSource:
    """Turns what the registry says of a version into what the loader needs.

    Raises:
        UnknownVersionError: when the version has not passed the gate, or is not complete yet.
        RegistryUnavailableError: when MLflow does not answer.
    """
    if not found.ready:
        raise UnknownVersionError(f"version {found.number} of {name!r} is not completely registered yet")
    if found.gate != PASSED:
        raise UnknownVersionError(f"version {found.number} of {name!r} has not passed the gate (its tag `gate`)")
    uri = await registry.artifact_uri(found.number)
    return ModelSource(name, found.number, uri, found.digest or None, found.release, found.origin)
