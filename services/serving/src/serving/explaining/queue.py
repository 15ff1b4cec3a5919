"""Runs long work in one thread at a time, with a bounded queue, a time limit, and a low CPU priority."""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from serving.errors import UnavailableError
from serving.explaining.tally import ExplainTally
from serving.priority import step_back

_T = TypeVar("_T")
# Called between the runs of a model: it pauses the thread, or raises an error to stop the work.
Check = Callable[[], None]

# The thread may use this share of the CPU time of one core: it pauses three times as long as it computed. Low priority
# alone would not keep it from slowing predictions down, because it holds the GIL.
SHARE = 0.25
_LONGEST_RETRY = 60
_STOP_SECONDS = 5.0


class Limits(msgspec.Struct, frozen=True):
    """How many requests may wait for their turn, and how long each may take, including the wait."""

    waiting: int
    seconds: float


class Queue:
    """Runs requests one after the other in a thread.

    The thread is not from an executor, because the process would wait for it when it ends.
    """

    def __init__(self, limits: Limits, tally: ExplainTally) -> None:
        self._limits = limits
        self._tally = tally
        self._turn = asyncio.Semaphore(1)
        self._present = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # The time of recent requests, in seconds.
        self._pace = 1.0

    async def run(self, work: Callable[[Check], _T]) -> tuple[_T, float]:
        """Run work in a thread when its turn comes. Return its result, and how many seconds it took.

        Raises:
            UnavailableError: if too many requests wait, or it takes too long.
        """
        if self._present > self._limits.waiting:
            self._tally.refused("full")
            raise UnavailableError("Too many explanations are already waiting; try again later.", self._retry_after())
        self._present += 1
        try:
            return await self._in_turn(work, time.monotonic() + self._limits.seconds)
        except TimeoutError:
            self._tally.refused("time")
            raise UnavailableError(
                f"The explanation was not ready within {self._limits.seconds:g} seconds; send fewer rows or try again "
                "later. The operator can lower EXPLAIN_EVALUATIONS or raise EXPLAIN_SECONDS.",
                self._retry_after(),
            ) from None
        finally:
            self._present -= 1

    async def aclose(self) -> None:
        """Stop the running work after its current run of the model.

        If the interpreter ended while a thread computes, a signal would kill the process.
        """
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def _retry_after(self) -> int:
        return min(max(1, math.ceil(self._pace * self._present)), _LONGEST_RETRY)

    async def _in_turn(self, work: Callable[[Check], _T], deadline: float) -> tuple[_T, float]:
        async with asyncio.timeout(deadline - time.monotonic()):
            await self._turn.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[_T] = loop.create_future()
        start = time.monotonic()

        worked = 0.0

        def check() -> None:
            nonlocal worked
            now = time.thread_time()
            self._stopping.wait((now - worked) * (1 / SHARE - 1))
            worked = now
            if self._stopping.is_set():
                raise UnavailableError("The process is stopping.")
            if time.monotonic() > deadline:
                raise TimeoutError

        def done(settle: Callable[[], None]) -> None:
            # Released here and not by the waiting request, which may be cancelled before the thread ends.
            self._turn.release()
            if not found.done():
                settle()

        def act() -> None:
            try:
                step_back()
                check()
                result = work(check)
            except BaseException as error:  # noqa: BLE001  (raised again in the waiting request)
                failure = error
                _call(loop, lambda: done(lambda: found.set_exception(failure)))
            else:
                _call(loop, lambda: done(lambda: found.set_result(result)))

        thread = threading.Thread(target=act, name="explain", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process may not have another thread
            self._turn.release()
            raise
        self._thread = thread
        result = await found
        seconds = time.monotonic() - start
        self._pace += (seconds - self._pace) / 4
        return result, seconds


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        loop.call_soon_threadsafe(what)
