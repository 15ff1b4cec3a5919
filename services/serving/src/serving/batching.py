"""Running models: what is ready in the same turn of the event loop shares one run, where that is faster.

A run over many rows costs hardly more than one over a single row for most models, and while it is computed nothing else
happens in this process. So requests whose rows are ready together are computed together: at once if no other request
is in progress, otherwise at the end of the turn, when all who were woken by it have put their rows down. Nobody
waits for
company: there is no timer.

Runs that take long are computed in worker threads; what comes in meanwhile shares the next one.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import msgspec
import numpy as np

from serving.admission import Admission
from serving.asked import ASKED, Asked
from serving.errors import OverloadedError
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix, Runtime

# Told of every run: the model, its rows, what it gave, and the seconds that took.
Listener = Callable[[LoadedModel, Matrix, Matrix, float], None]
# Told of every run before what it gave is sent: the model, its rows, what it gave, and whose rows these are, request
# after request: who asked, where that is noted, and how many rows.
Shares = Sequence[tuple[Asked | None, int]]
Watcher = Callable[[LoadedModel, Matrix, Matrix, Shares], None]


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    rows: Matrix
    result: "asyncio.Future[Matrix]"
    asked: Asked | None


class _Run(msgspec.Struct, frozen=True, eq=False):
    rows: Matrix
    result: Matrix | Exception
    seconds: float


class _Lane(msgspec.Struct, eq=False):
    """What waits for the worker threads, for one model; `runs` is how many of them compute for it now."""

    waiting: deque[_Waiting]
    rows: int = 0
    runs: int = 0


class Batcher:
    """Runs models for requests.

    Args:
        workers: The threads for long runs.
        threads: How many these are.
        admission: Tells whether another request is in progress.
        queue_seconds: How long rows may have to wait for a thread; more are refused.
        on_run: Is called for every run.
    """

    def __init__(
        self, workers: Executor, threads: int, admission: Admission, queue_seconds: float, on_run: Listener
    ) -> None:
        self._workers = workers
        self._threads = threads
        self._admission = admission
        self._queue_seconds = queue_seconds
        self._on_run = on_run
        self._ready: dict[LoadedModel, list[_Waiting]] = {}
        self._ready_requests = 0
        self._lanes: dict[LoadedModel, _Lane] = {}
        self._drains: set[asyncio.Task[None]] = set()

    async def run(self, model: LoadedModel, rows: Matrix) -> Matrix:
        """Gives what a model computes for a matrix of shape [rows, columns].

        Raises:
            OverloadedError: when the rows would have to wait too long for a thread.
        """
        if len(rows) > model.pace.inline_rows:
            return await self._aside(model, rows)
        if model.pace.shared_rows == 1 or (not self._ready_requests and self._admission.competing <= 1):
            return self._at_once(model, rows)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(rows, loop.create_future(), ASKED.get(None))
        self._ready.setdefault(model, []).append(waiting)
        self._ready_requests += 1
        if self._ready_requests >= self._admission.competing:
            self._flush()
        elif self._ready_requests == 1:
            loop.call_soon(self._flush)
        return await waiting.result

    def _flush(self) -> None:
        """Computes everything that is ready."""
        ready, self._ready, self._ready_requests = self._ready, {}, 0
        for model, waiting in ready.items():
            for group in _groups(deque(waiting), model.pace.shared_rows):
                self._settle(model, group, _runs(model.runtime, group))

    def _settle(self, model: LoadedModel, group: list[_Waiting], runs: list[_Run]) -> None:
        """Hands out what was computed: one run for the whole group, or one for each of it."""
        for run in runs:
            if not isinstance(run.result, Exception):
                self._on_run(model, run.rows, run.result, run.seconds)
        results = _split(group, runs[0].result) if len(runs) == 1 else [run.result for run in runs]
        for waiting, result in zip(group, results, strict=True):
            if waiting.result.done():
                continue
            if isinstance(result, Exception):
                waiting.result.set_exception(result)
            else:
                waiting.result.set_result(result)

    def _at_once(self, model: LoadedModel, rows: Matrix) -> Matrix:
        start = time.perf_counter()
        result = model.runtime.run(rows)
        self._on_run(model, rows, result, time.perf_counter() - start)
        return result

    async def _aside(self, model: LoadedModel, rows: Matrix) -> Matrix:
        """Has rows computed by a worker thread."""
        lane = self._lanes.setdefault(model, _Lane(deque()))
        # The models that are asked now take turns at the threads.
        if lane.rows and model.pace.seconds(lane.rows) * len(self._lanes) / self._threads > self._queue_seconds:
            raise OverloadedError
        waiting = _Waiting(rows, asyncio.get_running_loop().create_future(), ASKED.get(None))
        lane.waiting.append(waiting)
        lane.rows += len(rows)
        if lane.runs < self._threads:
            lane.runs += 1
            drain = asyncio.create_task(self._drain(model, lane))
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)
        return await waiting.result

    async def _drain(self, model: LoadedModel, lane: _Lane) -> None:
        """Computes what waits in a lane until nothing does, one group after the other."""
        loop = asyncio.get_running_loop()
        try:
            for group in _groups(lane.waiting, model.pace.shared_rows):
                lane.rows -= sum(len(waiting.rows) for waiting in group)
                self._settle(model, group, await loop.run_in_executor(self._workers, _runs, model.runtime, group))
        finally:
            lane.runs -= 1
            if not lane.runs:
                self._lanes.pop(model, None)


class WatchedBatcher(Batcher):
    """Shows every run to those who watch, all its requests at once. Takes `Batcher`'s place where there are any."""

    def __init__(self, watchers: Sequence[Watcher], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watchers = watchers

    def _settle(self, model: LoadedModel, group: list[_Waiting], runs: list[_Run]) -> None:
        # Before the watchers: one that fails must not leave callers without their answer.
        super()._settle(model, group, runs)
        shares = [(waiting.asked, len(waiting.rows)) for waiting in group]
        parts = [shares] if len(runs) == 1 else [[share] for share in shares]
        for run, part in zip(runs, parts, strict=True):
            if not isinstance(run.result, Exception):
                self._show(model, run.rows, run.result, part)

    def _at_once(self, model: LoadedModel, rows: Matrix) -> Matrix:
        result = super()._at_once(model, rows)
        self._show(model, rows, result, ((ASKED.get(None), len(rows)),))
        return result

    def _show(self, model: LoadedModel, rows: Matrix, result: Matrix, shares: Shares) -> None:
        for watcher in self._watchers:
            watcher(model, rows, result, shares)


def _groups(waiting: deque[_Waiting], most_rows: int) -> Iterator[list[_Waiting]]:
    """Takes from a queue, from its front, as many as fit into one run, until it is empty."""
    while waiting:
        group = [waiting.popleft()]
        rows = len(group[0].rows)
        while waiting and rows + len(waiting[0].rows) <= most_rows:
            rows += len(waiting[0].rows)
            group.append(waiting.popleft())
        yield group


def _runs(runtime: Runtime, group: list[_Waiting]) -> list[_Run]:
    """Computes a group in one run; when that fails, each by itself, so that what one did wrong fails it alone."""
    rows = group[0].rows if len(group) == 1 else np.concatenate([waiting.rows for waiting in group])
    start = time.perf_counter()
    result: Matrix | Exception
    try:
        result = runtime.run(rows)
    except Exception as error:  # noqa: BLE001  (runtimes raise what they like; whoever asked gets it)
        if len(group) > 1:
            return [run for waiting in group for run in _runs(runtime, [waiting])]
        result = error
    return [_Run(rows, result, time.perf_counter() - start)]


def _split(group: list[_Waiting], result: Matrix | Exception) -> list[Matrix | Exception]:
    """Gives each of a group its part of what was computed for all."""
    if len(group) == 1 or isinstance(result, Exception):
        return [result]
    parts: list[Matrix | Exception] = []
    first = 0
    for waiting in group:
        parts.append(result[first : first + len(waiting.rows)])
        first += len(waiting.rows)
    return parts
