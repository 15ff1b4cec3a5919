"""Calls over gRPC take turns to read their messages."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import grpc
import pytest

from serving.errors import OverloadedError
from serving.rpc.arrivals import Arrivals


class FakeContext:
    """A call whose message arrives when the test says so."""

    def __init__(self) -> None:
        self.reads = False
        self.arrived = asyncio.Event()

    async def read(self) -> bytes:
        self.reads = True
        await self.arrived.wait()
        return b"message"


Scenario: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


def in_loop(scenario: Scenario) -> Callable[..., None]:
    """Return a test that runs a coroutine in an event loop of its own."""

    @functools.wraps(scenario)
    def run(*arguments: Any, **more: Any) -> None:
        asyncio.run(scenario(*arguments, **more))

    return run


async def started(arrivals: Arrivals, count: int) -> tuple[list[Any], list[asyncio.Task[Any]]]:
    contexts: list[Any] = [FakeContext() for _ in range(count)]
    tasks = [asyncio.create_task(arrivals.message(context)) for context in contexts]
    await asyncio.sleep(0)
    return contexts, tasks


def reading(contexts: list[Any]) -> list[bool]:
    return [context.reads for context in contexts]


@in_loop
async def test_calls_read_in_their_order() -> None:
    contexts, tasks = await started(Arrivals(1, 2), 3)
    assert reading(contexts) == [True, False, False]
    contexts[0].arrived.set()
    assert await tasks[0] == b"message"
    await asyncio.sleep(0)
    assert reading(contexts) == [True, True, False]
    contexts[1].arrived.set()
    contexts[2].arrived.set()
    assert await asyncio.gather(*tasks) == [b"message"] * 3


@in_loop
async def test_calls_beyond_those_that_may_wait_are_refused() -> None:
    contexts, tasks = await started(Arrivals(1, 1), 3)
    with pytest.raises(OverloadedError):
        await tasks[2]
    for context in contexts:
        context.arrived.set()
    assert await asyncio.gather(*tasks[:2]) == [b"message"] * 2


@pytest.mark.parametrize("gone", [0, 1])
@in_loop
async def test_a_caller_that_leaves_gives_up_its_turn(gone: int) -> None:
    """It may read already, wait, or have got its turn just before."""
    arrivals = Arrivals(1, 2)
    contexts, tasks = await started(arrivals, 3)
    if gone:
        contexts[0].arrived.set()
        await tasks[0]
    tasks[gone].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[gone]
    contexts[0].arrived.set()
    contexts[1].arrived.set()
    contexts[2].arrived.set()
    assert await tasks[2] == b"message"
    (context,), (task,) = await started(arrivals, 1)
    assert reading([context]) == [True]
    context.arrived.set()
    assert await task == b"message"


@in_loop
async def test_a_call_may_end_without_a_message() -> None:
    class Empty(FakeContext):
        refused: tuple[Any, ...] = ()

        async def read(self) -> Any:
            return grpc.aio.EOF

        async def abort(self, *refused: Any) -> None:
            self.refused = refused
            raise grpc.aio.AbortError

    context: Any = Empty()
    assert await Arrivals(1, 1).message(context) is grpc.aio.EOF
    with pytest.raises(grpc.aio.AbortError):
        await Arrivals(1, 1).only(context)
    assert context.refused[0] is grpc.StatusCode.INVALID_ARGUMENT
