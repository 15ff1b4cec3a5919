"""Stage mode: serves the version that an alias points to, which it looks up in the registry regularly."""

import asyncio
import logging
import random
import re

import msgspec

from serving.backoff import Backoff
from serving.cache import ModelCache, SingleFlight
from serving.errors import ModelUnusableError, RegistryUnavailableError, UnavailableError, UnknownVersionError
from serving.loader import LoadedModel, ModelLoader
from serving.registry import RegisteredVersion, Registry
from serving.spans import NO_SPANS, Spans
from serving.versions.base import LATEST, Listener, VersionManager, registered_source
from serving.versions.memory import Memory

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_RELEASE = re.compile(r"v[0-9]+\.[0-9]+\.[0-9]+")
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")
_REFUSED_SECONDS = 30.0
_LOADS_AT_ONCE = 2

logger = logging.getLogger(__name__)


class Stage(msgspec.Struct, frozen=True):
    """The alias to follow, and the seconds between two lookups.

    If the alias does not exist as written, it is tried in lower case: environments have names like `Production`, and
    aliases usually names like `production`.
    """

    name: str
    alias: str
    poll_seconds: float


class FollowedStage(VersionManager):
    """Serves the version that an alias points to, and others that passed the gate when a request names them."""

    mode = "stage"

    def __init__(
        self,
        stage: Stage,
        loader: ModelLoader,
        registry: Registry,
        cache: ModelCache,
        backoff: Backoff,
        on_change: Listener,
        spans: Spans = NO_SPANS,
    ) -> None:
        super().__init__(stage.name, cache, backoff, on_change, spans)
        self.stage = stage.alias.lower()
        self._stage = stage
        self._loader = loader
        self._registry = registry
        self._memory = Memory()
        self._lookups: SingleFlight[str] = SingleFlight()
        self._slots = asyncio.Semaphore(_LOADS_AT_ONCE)

    async def run(self) -> None:
        """Follow the alias for ever. While its version cannot be loaded, the earlier one stays."""
        while True:
            if await self._attempt(self._follow):
                await asyncio.sleep(self._stage.poll_seconds * random.uniform(0.9, 1.1))  # noqa: S311  (spreads load)

    async def _follow(self) -> None:
        found = await self._aliased()
        known = self._current if self._current and self._current.version == found.number else None
        if known is None:
            known = self._cache.get(self.name, found.number)
        if known is None:
            self._become(await self._cache.get_or_load(self.name, found.number, lambda: self._load(found)))
        elif _replaced(known, found):
            await self._reload(found)
        elif known is not self._current:
            self._become(known)

    async def _aliased(self) -> RegisteredVersion:
        alias = self._stage.alias
        try:
            found = await self._registry.by_alias(alias)
        except UnknownVersionError:
            if alias == alias.lower():
                raise
            alias = alias.lower()
            found = await self._registry.by_alias(alias)
        self.stage = alias
        return found

    async def _reload(self, found: RegisteredVersion) -> None:
        """Load a version whose number meant another one before: the model was deleted and registered again."""
        self._memory = Memory()
        self._cache.forget(self.name)
        try:
            model = await self._cache.replace(self.name, found.number, lambda: self._load(found))
        except (UnknownVersionError, ModelUnusableError, UnavailableError) as error:
            raise type(error)(
                f"the registry has another version {found.number} of {self.name!r} now than the one in memory, and "
                f"{error}"
            ) from error
        logger.warning(
            "the registry has another version under the same number",
            extra={"model": self.name, "version": found.number, "digest": model.digest},
        )
        self._become(model)

    async def get(self, wanted: str) -> LoadedModel:
        """Return the model that a number, an alias or a release tag names."""
        current = self.latest()
        if wanted in (LATEST, self.stage, self._stage.alias, current.version, current.release):
            return current
        number = wanted if _NUMBER.fullmatch(wanted) else await self._number(wanted)
        return self._cache.get(self.name, number) or await self._named(number)

    async def _number(self, name: str) -> str:
        """Return the number of an alias or a release tag. If the registry is unavailable, return the last known one."""
        if number := self._memory.fresh(name):
            return number
        try:
            number = await self._lookups.run(name, lambda: self._look_up(name))
        except UnknownVersionError as error:
            self._memory.put(name, error, _REFUSED_SECONDS)
            raise
        except RegistryUnavailableError:
            if number := self._memory.stale(name):
                return number
            raise
        self._memory.put(name, number, self._stage.poll_seconds)
        return number

    async def _look_up(self, name: str) -> str:
        if _RELEASE.fullmatch(name):
            return (await self._registry.by_release(name)).number
        if not _ALIAS.fullmatch(name):
            raise UnknownVersionError(f"{name!r} is not a registry number, an alias or a release tag (v1.2.0)")
        return (await self._registry.by_alias(name)).number

    async def _named(self, number: str) -> LoadedModel:
        """Load a version because a request names it."""
        self._memory.fresh(number)
        try:
            return await self._cache.get_or_load(self.name, number, lambda: self._load_by_number(number))
        except (UnknownVersionError, ModelUnusableError) as error:
            self._memory.put(number, error, _REFUSED_SECONDS)
            raise

    async def _load_by_number(self, number: str) -> LoadedModel:
        if self._slots.locked():
            raise UnavailableError("other versions are being loaded", retry_after=2)
        async with self._slots:
            return await self._load(await self._registry.by_number(number))

    async def _load(self, found: RegisteredVersion) -> LoadedModel:
        return await self._loader.load(await registered_source(self._registry, self.name, found))


def _replaced(known: LoadedModel, found: RegisteredVersion) -> bool:
    """Return whether a number now means another version in the registry than the one in memory."""
    if found.digest and found.digest != known.digest:
        return True
    return bool(found.origin and known.origin and found.origin != known.origin)
