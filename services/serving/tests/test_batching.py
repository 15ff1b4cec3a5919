"""Requests that are ready together share a run, each gets its own results, and a faulty one fails alone."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admission import Admission
from serving.batching import Batcher
from serving.errors import OverloadedError
from serving.features import RowReader
from serving.loader import LoadedModel
from serving.signature import ModelSpec
from serving.warmup import INLINE_SECONDS, Pace, pace

SHARING = Pace(1e-5, 1e-7, inline_rows=20, shared_rows=20)
SLOW = Pace(0.02, 1e-4, inline_rows=0, shared_rows=20)


class Multiplying:
    """Multiplies numbers, raises an error for negative ones, and records how many rows each run had."""

    name = "multiplying"
    dtypes = (np.float32,)
    output_dtype = np.float32

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor
        self.runs: list[int] = []
        self.threads: set[str] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def run(self, features: Any) -> Any:
        self.may_go_on.wait(30)
        self.runs.append(len(features))
        self.threads.add(threading.current_thread().name)
        if (features < 0).any():
            raise ValueError("negative")
        return features[:, 0] * self.factor


def model(runtime: Any, how: Pace = SHARING) -> LoadedModel:
    spec = ModelSpec("regression", (), (), "", "", "", "")
    return LoadedModel("m", "1", "", "", spec, runtime, RowReader((), ()), (), how)


def rows(*values: float) -> Any:
    return np.array(values, dtype=np.float32)[:, None]


def scenario(work: Callable[[Batcher], Awaitable[None]], *, under_way: int, queue_seconds: float = 1.0) -> list[int]:
    """Run work with a batcher that sees `under_way` requests in progress, and return the number of rows of each run."""
    told: list[int] = []
    admission = Admission(100, 1.0)
    admission.competing = under_way

    async def main() -> None:
        with ThreadPoolExecutor(2, thread_name_prefix="predict") as workers:
            await work(Batcher(workers, 2, admission, queue_seconds, lambda _, rows, __, ___: told.append(len(rows))))

    asyncio.run(main())
    return told


@pytest.mark.parametrize("under_way", [1, 3, 50])
def test_a_single_request_does_not_wait_and_several_share_a_run(under_way: int) -> None:
    runtime = Multiplying()

    async def work(batcher: Batcher) -> None:
        results = await asyncio.gather(*(batcher.run(model_, rows(i)) for i in range(3)))
        assert [result.tolist() for result in results] == [[0], [2], [4]]

    model_ = model(runtime)
    told = scenario(work, under_way=under_way)
    assert runtime.runs == told == ([1, 1, 1] if under_way == 1 else [3])
    assert runtime.threads == {threading.current_thread().name}


@given(st.lists(st.lists(st.integers(-3, 9), min_size=1, max_size=4), min_size=1, max_size=30), st.booleans())
def test_each_gets_its_own_results_and_a_faulty_one_fails_alone(requests: list[list[int]], slow: bool) -> None:
    async def work(batcher: Batcher) -> None:
        runtimes = [Multiplying(2), Multiplying(3)]
        models = [model(runtime, SLOW if slow else SHARING) for runtime in runtimes]
        results = await asyncio.gather(
            *(batcher.run(models[i % 2], rows(*values)) for i, values in enumerate(requests)), return_exceptions=True
        )
        for i, (values, result) in enumerate(zip(requests, results, strict=True)):
            if min(values) < 0:
                assert isinstance(result, ValueError)
            else:
                assert not isinstance(result, BaseException)
                assert result.tolist() == [runtimes[i % 2].factor * value for value in values]
        for used in runtimes:
            assert max(used.runs, default=0) <= 20

    told = scenario(work, under_way=len(requests) + 1)
    assert sum(told) == sum(len(values) for values in requests if min(values) >= 0)


def test_a_caller_that_hangs_up_does_not_affect_the_others() -> None:
    async def work(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.run(model_, rows(i))) for i in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert [result.tolist() for result in results[::2] if not isinstance(result, BaseException)] == [[0], [4]]

    model_ = model(Multiplying())
    scenario(work, under_way=50)


def test_slow_runs_go_to_threads_and_later_requests_share_the_next_run() -> None:
    runtime = Multiplying()
    runtime.may_go_on.clear()

    async def work(batcher: Batcher) -> None:
        tasks = []
        for i in range(12):
            tasks.append(asyncio.create_task(batcher.run(slow, rows(i))))
            if i < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        runtime.may_go_on.set()
        assert [(await task).tolist() for task in tasks] == [[2 * i] for i in range(12)]

    slow = model(runtime, SLOW)
    told = scenario(work, under_way=50)
    assert sorted(told) == [1, 1, 10]
    assert all(name.startswith("predict") for name in runtime.threads)


def test_rows_that_cannot_be_computed_soon_are_refused() -> None:
    runtime = Multiplying()
    runtime.may_go_on.clear()

    async def work(batcher: Batcher) -> None:
        slow = model(runtime, Pace(0.1, 0.1, inline_rows=0, shared_rows=1))
        tasks = [asyncio.create_task(batcher.run(slow, rows(i))) for i in range(40)]
        for _ in range(5):
            await asyncio.sleep(0)
        runtime.may_go_on.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [result for result in results if isinstance(result, OverloadedError)]
        assert len(refused) == 40 - 11
        assert (await batcher.run(slow, rows(7))).tolist() == [14]

    scenario(work, under_way=50, queue_seconds=0.5)


def test_two_slow_models_share_the_threads_equally() -> None:
    runtimes = [Multiplying(2), Multiplying(3)]
    for runtime in runtimes:
        runtime.may_go_on.clear()

    async def work(batcher: Batcher) -> None:
        slow = [model(runtime, Pace(0.1, 0.1, inline_rows=0, shared_rows=1)) for runtime in runtimes]
        tasks = [asyncio.create_task(batcher.run(slow[i % 2], rows(i))) for i in range(40)]
        for _ in range(5):
            await asyncio.sleep(0)
        for runtime in runtimes:
            runtime.may_go_on.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for i in range(2):
            answered = [result for result in results[i::2] if not isinstance(result, BaseException)]
            assert 5 <= len(answered) <= 7
            assert [result.tolist() for result in answered[:2]] == [[i * (2 + i)], [(i + 2) * (2 + i)]]

    scenario(work, under_way=50, queue_seconds=0.5)


class Threadless(Executor):
    """An executor that cannot start a thread."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")


def test_slow_runs_fail_if_no_thread_can_be_started() -> None:
    async def main() -> None:
        batcher = Batcher(Threadless(), 2, Admission(100, 1.0), 1.0, lambda *_: None)
        slow = model(Multiplying(), SLOW)
        async with asyncio.timeout(30):
            results = await asyncio.gather(*(batcher.run(slow, rows(i)) for i in range(5)), return_exceptions=True)
        assert [str(result) for result in results] == ["can't start new thread"] * 5

    asyncio.run(main())


def test_the_warm_up_decides_how_rows_are_run() -> None:
    fast, linear, slow = pace(1e-5, 1e-7), pace(1e-4, 9e-5), pace(2 * INLINE_SECONDS, 1e-5)
    assert fast.inline_rows > fast.shared_rows > 1000
    assert linear.inline_rows > 1
    assert linear.shared_rows == 1
    assert slow.inline_rows == 0
    assert slow.shared_rows > 1000
    assert fast.seconds(11) == pytest.approx(1.1e-5)
