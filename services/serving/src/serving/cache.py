"""The Model Cache: a bounded number of versions of all models in memory. One caller at a time loads each."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Generic, TypeVar

from serving.loader import LoadedModel

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """Runs work once per key at a time: callers with a key whose work is running wait for the same result."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[_T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[_T]]) -> _T:
        """Start `work`, or join the run that is in progress. A caller that gives up does not stop it."""
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
            task.exception()  # marks it as retrieved, because all callers may have given up


class CacheEvents:
    """Events of a cache. Each does nothing unless overridden."""

    def hit(self) -> None:
        """A version was in memory."""

    def miss(self) -> None:
        """A version was not in memory."""

    def loaded(self) -> None:
        """A version was loaded."""

    def failed(self) -> None:
        """A version could not be loaded."""

    def evicted(self, model: LoadedModel) -> None:
        """A version was removed to make room for others."""


class ModelCache:
    """Keeps the versions that were used last: at most `capacity` of them, with at most `max_bytes` in total.

    All registered models share these bounds. One version of each model stays if `keep` was called with it, and so does
    the version that was loaded last. So there may be one version more than the bounds allow.
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
        """Keep this version until `keep` is called with another version of the model."""
        self._kept[model.name] = model.version
        # Versions that were loaded after it may have evicted it.
        self._models[model.name, model.version] = model
        self._evict()

    def forget(self, name: str) -> None:
        """Remove all versions of a model except the kept one, because their numbers mean other versions now."""
        for key in tuple(self._models):
            if key[0] == name and key[1] != self._kept.get(name):
                self._events.evicted(self._models.pop(key))

    async def replace(self, name: str, version: str, load: Callable[[], Awaitable[LoadedModel]]) -> LoadedModel:
        """Return what `load` returns, and keep it instead of the earlier version with this number.

        Raises:
            ServingError: from `load`. The earlier version then stays.
        """
        return await self._loads.run((name, version, "replace"), lambda: self._load(name, version, load))

    def get(self, name: str, version: str) -> LoadedModel | None:
        """Return a version of a model if it is in memory, and count that as a use."""
        model = self._models.get((name, version))
        if model is None:
            return None
        self._models.move_to_end((name, version))
        self._events.hit()
        return model

    async def get_or_load(self, name: str, version: str, load: Callable[[], Awaitable[LoadedModel]]) -> LoadedModel:
        """Return a version from memory, or else what `load` returns. Concurrent callers share one load.

        Raises:
            ServingError: from `load`. Nothing is kept then.
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
        """Remove the versions that were used longest ago until the rest fits, but never the newest."""
        for name, version in tuple(self._models)[:-1]:
            if self._fits():
                return
            if version != self._kept.get(name):
                self._events.evicted(self._models.pop((name, version)))

    def _fits(self) -> bool:
        size = sum(model.bytes for model in self._models.values())
        return len(self._models) <= self._capacity and size <= self._max_bytes
