"""The Model Cache loads each version once however many ask, stays within its bound, and never drops what is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache import CacheEvents, ModelCache
from serving.errors import ModelUnusableError
from serving.loader import LoadedModel, pace
from serving.signature import ModelSpec

PACE = pace(1e-5, 1e-6)
PLENTY = 10**9


class Constant:
    name = "constant"
    dtype = np.float32

    def run(self, features: Any) -> Any:
        return np.zeros(len(features))


class Counted(CacheEvents):
    def __init__(self) -> None:
        self.hits = self.misses = self.failures = 0
        self.evictions: list[str] = []

    def hit(self) -> None:
        self.hits += 1

    def miss(self) -> None:
        self.misses += 1

    def failed(self) -> None:
        self.failures += 1

    def evicted(self, model: LoadedModel) -> None:
        self.evictions.append(model.version)


def model(version: str, size: int = 0) -> LoadedModel:
    spec = ModelSpec("regression", (), (), "", "", "", "")
    return LoadedModel("m", version, "", "", spec, Constant(), (), PACE, size)


def loads(version: str, size: int = 0) -> Callable[[], Awaitable[LoadedModel]]:
    async def load() -> LoadedModel:
        await asyncio.sleep(0)
        return model(version, size)

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
        callers = [asyncio.create_task(cache.get_or_load("1", load)) for _ in range(20)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.sleep(0)
        release.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert started == 1
        assert isinstance(results[0], asyncio.CancelledError)
        assert all(result is cache.get("1") for result in results[1:])

    asyncio.run(scenario())


def test_a_failed_load_fails_for_all_who_wait_and_is_tried_again_by_the_next() -> None:
    async def scenario() -> None:
        async def broken() -> LoadedModel:
            await asyncio.sleep(0)
            raise ModelUnusableError("broken")

        events = Counted()
        cache = ModelCache(2, PLENTY, events)
        results = await asyncio.gather(*(cache.get_or_load("1", broken) for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["broken"] * 3
        assert events.failures == 1
        assert (await cache.get_or_load("1", loads("1"))).version == "1"

    asyncio.run(scenario())


def test_a_failed_load_that_nobody_waits_for_goes_unnoticed() -> None:
    async def scenario() -> None:
        async def broken() -> LoadedModel:
            await asyncio.sleep(0.01)
            raise ModelUnusableError("broken")

        caller = asyncio.create_task(ModelCache(1, PLENTY, CacheEvents()).get_or_load("1", broken))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0.02)

    asyncio.run(scenario())


@given(st.integers(1, 4), st.lists(st.sampled_from("123456"), max_size=30))
def test_it_stays_within_its_bound_and_keeps_what_it_must(capacity: int, wanted: list[str]) -> None:
    async def scenario() -> None:
        events = Counted()
        cache = ModelCache(capacity, PLENTY, events)
        await cache.get_or_load("1", loads("1"))
        cache.keep("1")
        for version in wanted:
            assert (await cache.get_or_load(version, loads(version))).version == version
            held = [loaded.version for loaded in cache]
            assert "1" in held
            assert held[-1] == version
            assert len(held) <= max(capacity, 2)
        assert events.hits + events.misses == len(wanted) + 1
        assert "1" not in events.evictions

    asyncio.run(scenario())


@given(st.lists(st.tuples(st.sampled_from("123456"), st.integers(1, 60)), max_size=30))
def test_it_stays_within_its_bytes(wanted: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        cache = ModelCache(100, 100, Counted())
        await cache.get_or_load("1", loads("1", 10))
        cache.keep("1")
        for version, size in wanted:
            await cache.get_or_load(version, loads(version, size))
            held = list(cache)
            assert {"1", version} <= {loaded.version for loaded in held}
            assert sum(loaded.bytes for loaded in held) <= 100

    asyncio.run(scenario())


def test_the_version_used_longest_ago_goes_first() -> None:
    async def scenario() -> None:
        events = Counted()
        cache = ModelCache(2, PLENTY, events)
        for version in ("1", "2"):
            await cache.get_or_load(version, loads(version))
        cache.get("1")
        await cache.get_or_load("3", loads("3"))
        assert events.evictions == ["2"]

    asyncio.run(scenario())
