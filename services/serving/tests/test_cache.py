"""The Model Cache loads each version once for all callers, stays within its bounds, and drops no kept version.

Versions of different models share its bounds and nothing else, even if their numbers are the same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache import CacheEvents, ModelCache
from serving.errors import ModelUnusableError
from serving.features import RowReader
from serving.loader import LoadedModel
from serving.signature import ModelSpec
from serving.warmup import pace

PACE = pace(1e-5, 1e-6)
PLENTY = 10**9


class Constant:
    name = "constant"
    dtypes = (np.float32,)
    output_dtype = np.float32

    def run(self, features: Any) -> Any:
        return np.zeros(len(features))


class Counted(CacheEvents):
    def __init__(self) -> None:
        self.hits = self.misses = self.failures = 0
        self.evictions: list[tuple[str, str]] = []

    def hit(self) -> None:
        self.hits += 1

    def miss(self) -> None:
        self.misses += 1

    def failed(self) -> None:
        self.failures += 1

    def evicted(self, model: LoadedModel) -> None:
        self.evictions.append((model.name, model.version))


def model(version: str, size: int = 0, name: str = "m") -> LoadedModel:
    spec = ModelSpec("regression", (), (), "", "", "", "")
    return LoadedModel(name, version, "", "", spec, Constant(), RowReader((), ()), (), PACE, size)


def loads(version: str, size: int = 0, name: str = "m") -> Callable[[], Awaitable[LoadedModel]]:
    async def load() -> LoadedModel:
        await asyncio.sleep(0)
        return model(version, size, name)

    return load


def test_concurrent_callers_share_one_load() -> None:
    async def scenario() -> None:
        started = 0
        release = asyncio.Event()

        async def load() -> LoadedModel:
            nonlocal started
            started += 1
            await release.wait()
            return model("1")

        cache = ModelCache(2, PLENTY, CacheEvents())
        callers = [asyncio.create_task(cache.get_or_load("m", "1", load)) for _ in range(20)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.sleep(0)
        release.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert started == 1
        assert isinstance(results[0], asyncio.CancelledError)
        assert all(result is cache.get("m", "1") for result in results[1:])

    asyncio.run(scenario())


def test_a_failed_load_fails_for_all_that_wait_and_the_next_caller_tries_again() -> None:
    async def scenario() -> None:
        async def broken() -> LoadedModel:
            await asyncio.sleep(0)
            raise ModelUnusableError("broken")

        events = Counted()
        cache = ModelCache(2, PLENTY, events)
        results = await asyncio.gather(*(cache.get_or_load("m", "1", broken) for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["broken"] * 3
        assert events.failures == 1
        assert (await cache.get_or_load("m", "1", loads("1"))).version == "1"

    asyncio.run(scenario())


def test_a_failed_load_that_nobody_waits_for_is_ignored() -> None:
    async def scenario() -> None:
        async def broken() -> LoadedModel:
            await asyncio.sleep(0.01)
            raise ModelUnusableError("broken")

        caller = asyncio.create_task(ModelCache(1, PLENTY, CacheEvents()).get_or_load("m", "1", broken))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0.02)

    asyncio.run(scenario())


NAMED = st.tuples(st.sampled_from("ab"), st.sampled_from("1234"))


@given(st.integers(1, 4), st.lists(st.tuples(NAMED, st.integers(1, 60), st.booleans()), max_size=30))
def test_it_stays_within_its_bounds_and_keeps_the_kept_versions(
    capacity: int, wanted: list[tuple[tuple[str, str], int, bool]]
) -> None:
    """Two models with the same version numbers: some versions are kept, and others only requested."""

    async def scenario() -> None:
        events = Counted()
        cache = ModelCache(capacity, 100, events)
        kept: dict[str, LoadedModel] = {}
        must: set[LoadedModel] = set()
        for (name, version), size, keep in wanted:
            misses = events.misses
            found = await cache.get_or_load(name, version, loads(version, size, name))
            assert (found.name, found.version) == (name, version)
            if keep:
                cache.keep(found)
                kept[name] = found
            if keep or events.misses > misses:
                must = {*kept.values(), found}
            held = list(cache)
            assert {*must, found} <= set(held)
            assert len(cache) == len(held) <= max(capacity, len(must))
            assert sum(each.bytes for each in held) <= max(100, sum(each.bytes for each in must))
        assert events.hits + events.misses == len(wanted)

    asyncio.run(scenario())


def test_versions_with_the_same_number_are_loaded_and_kept_separately() -> None:
    async def scenario() -> None:
        cache = ModelCache(9, PLENTY, CacheEvents())
        asked = [cache.get_or_load(name, "1", loads("1", name=name)) for name in "abab"]
        assert [found.name for found in await asyncio.gather(*asked)] == list("abab")
        assert len(cache) == 2
        assert cache.get("a", "1") is not cache.get("b", "1")
        assert cache.get("c", "1") is None

    asyncio.run(scenario())


def test_models_evict_each_others_versions_except_the_kept_ones() -> None:
    async def scenario() -> None:
        events = Counted()
        cache = ModelCache(9, 100, events)
        for name in "ab":
            cache.keep(await cache.get_or_load(name, "1", loads("1", 40, name)))
        for name in "abab":
            for version in "23":
                await cache.get_or_load(name, version, loads(version, 40, name))
        assert {("a", "1"), ("b", "1")} & set(events.evictions) == set()
        assert events.evictions[:3] == [("a", "2"), ("a", "3"), ("b", "2")]
        cache.keep(await cache.get_or_load("a", "2", loads("2", 40, "a")))
        assert [(held.name, held.version) for held in cache] == [("b", "1"), ("a", "2")]

    asyncio.run(scenario())


def test_a_version_that_was_evicted_before_it_is_kept_comes_back() -> None:
    async def scenario() -> None:
        cache = ModelCache(1, PLENTY, CacheEvents())
        followed = await cache.get_or_load("a", "1", loads("1", name="a"))
        await cache.get_or_load("b", "1", loads("1", name="b"))
        assert cache.get("a", "1") is None
        cache.keep(followed)
        assert cache.get("a", "1") is followed

    asyncio.run(scenario())


def test_the_version_that_was_used_longest_ago_goes_first() -> None:
    async def scenario() -> None:
        events = Counted()
        cache = ModelCache(2, PLENTY, events)
        for version in ("1", "2"):
            await cache.get_or_load("m", version, loads(version))
        cache.get("m", "1")
        await cache.get_or_load("m", "3", loads("3"))
        assert events.evictions == [("m", "2")]

    asyncio.run(scenario())
