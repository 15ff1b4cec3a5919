"""What both modes of the Version Manager have in common."""

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

    `run` does the work in the background. The model changes by a single assignment, so each request sees either the old
    one or the new one.
    """

    mode: str
    # The alias that is followed, in stage mode.
    stage: str | None = None
    # The log messages when a version is loaded, and when it is not.
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
        """The model that `latest` means, None while it is loading."""
        return self._current

    @property
    def problem(self) -> str:
        """A sentence that says why the wanted model is not served; empty if it is."""
        return self._problem

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """All versions of this model in memory."""
        return tuple(model for model in self._cache if model.name == self.name)

    def latest(self) -> LoadedModel:
        """Return the model that this deployment serves.

        Raises:
            NotReadyError: if none is loaded yet.
        """
        if self._current is None:
            raise NotReadyError(f"Model {self.name!r} is not loaded yet: {self._problem}.")
        return self._current

    @abstractmethod
    async def get(self, wanted: str) -> LoadedModel:
        """Return the model that a caller names: `latest`, a registry number, and in stage mode an alias or release.

        Raises:
            NotReadyError: if nothing is loaded yet.
            UnknownVersionError: if this deployment has no such version.
            UnavailableError: if it cannot be looked up or loaded now.
        """

    @abstractmethod
    async def run(self) -> None:
        """Load the model, and continue while there is an alias to follow."""

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Try to load the wanted model. Return whether that worked; after a failure, only after a delay."""
        try:
            with self._spans.span("find the requested model", {"model.name": self.name, "mode": self.mode}):
                await step()
        except ServingError as error:
            problem = str(error)
        except Exception as error:  # after any error there must be another attempt
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
    """Return the source of a version that the registry describes.

    Raises:
        UnknownVersionError: if the version has not passed the gate, or is not complete yet.
        RegistryUnavailableError: if MLflow does not answer.
    """
    if not found.ready:
        raise UnknownVersionError(f"version {found.number} of {name!r} is not completely registered yet")
    if found.gate != PASSED:
        raise UnknownVersionError(f"version {found.number} of {name!r} has not passed the gate (its tag `gate`)")
    uri = await registry.artifact_uri(found.number)
    return ModelSource(name, found.number, uri, found.digest or None, found.release, found.origin)
