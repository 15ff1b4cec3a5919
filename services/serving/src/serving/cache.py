"""The Model Cache: the versions of all models in memory, a bounded number, each loaded by one caller at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Generic, TypeVar

from serving.loader import LoadedModel

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """Runs one piece of work per key at a time: a caller with a key that is running waits for the same result."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[_T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[_T]]) -> _T:
        """Starts `work`, or joins the run that is in progress. A caller that gives up does not stop it."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._guarded(work))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        return await asyncio.shield(task)

    async def _guarded(self, work: Callable[[], Awaitable[_T]]) -> _T:
        return await work()

    def _finished(self, key: Hashable, task: asyncio.Task[_T]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # Marks it as seen: all who waited may have given up.


class CacheEvents:
    """What a cache tells about itself; each does nothing unless overridden."""

    def hit(self) -> None:
        """A version was there."""

    def miss(self) -> None:
        """A version was not there."""

    def loaded(self) -> None:
        """A version was loaded."""

    def failed(self) -> None:
        """A version could not be loaded."""

    def evicted(self, model: LoadedModel) -> None:
        """A version made room for others."""


class ModelCache:
    """Keeps the versions that were used last: at most `capacity` of them, of at most `max_bytes` together.

    All registered models share these bounds. Versions given to `keep` always stay, one version a model, and
    so does the version loaded last, so there may be one more than there is room for.
    """

    def __init__(self, capacity: int, max_bytes: int, events: CacheEvents) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._events = events
        self._models: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self._loads: SingleFlight[LoadedModel] = SingleFlight()
        self._kept: dict[str, str] = {}

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(tuple(self._models.values()))

    def __len__(self) -> int:
        return len(self._models)

    def keep(self, model: LoadedModel) -> None:
        """Never drops this version from now on, instead of the one with the same name before."""
        self._kept[model.name] = model.version
        # Others may have been loaded since it was, and have pushed it out.
        self._models[model.name, model.version] = model
        self._evict()

    def forget(self, name: str) -> None:
        """Drops all versions of a model but the one that it was told to keep: their numbers mean others now."""
        for key in tuple(self._models):
            if key[0] == name and key[1] != self._kept.get(name):
                self._events.evicted(self._models.pop(key))

    async def replace(self, name: str, version: str, load: Callable[[], Awaitable[LoadedModel]]) -> LoadedModel:
        """Gives what `load` returns, and keeps it in the place of what had this number before.

        Raises:
            ServingError: whatever `load` raises; what was there before stays then.
        """
        return await self._loads.run((name, version, "anew"), lambda: self._load(name, version, load))

    def get(self, name: str, version: str) -> LoadedModel | None:
        """Gives a version of a model that is in memory, and counts that as use."""
        model = self._models.get((name, version))
        if model is None:
            return None
        self._models.move_to_end((name, version))
        self._events.hit()
        return model

    async def get_or_load(self, name: str, version: str, load: Callable[[], Awaitable[LoadedModel]]) -> LoadedModel:
        """Gives a version from memory, or else what `load` returns; concurrent callers share one load.

        Raises:
            ServingError: whatever `load` raises; nothing is kept then.
        """
        model = self.get(name, version)
        if model is not None:
            return model
        self._events.miss()
        return await self._loads.run((name, version), lambda: self._load(name, version, load))

    async def _load(self, name: str, version: str, load: Callable[[], Awaitable[LoadedModel]]) -> LoadedModel:
        try:
            model = await load()
        except BaseException:
            self._events.failed()
            raise
        self._models[name, version] = model
        self._events.loaded()
        self._evict()
        return model

    def _evict(self) -> None:
        """Drops the versions used longest ago until the rest fits. The newest stays, or its load was for nothing."""
        for name, version in tuple(self._models)[:-1]:
            if self._fits():
                return
            if version != self._kept.get(name):
                self._events.evicted(self._models.pop((name, version)))

    def _fits(self) -> bool:
        size = sum(model.bytes for model in self._models.values())
        return len(self._models) <= self._capacity and size <= self._max_bytes
