"""Runs models: requests whose rows are ready in the same turn of the event loop share a run, if that is faster.

For most models, a run over many rows takes hardly longer than a run over one row, and nothing else happens in this
process meanwhile. So rows that are ready together are computed together: at once if no other request is in progress,
otherwise at the end of the turn, when all requests that it woke up have added their rows. No request waits for others:
there is no timer.

Long runs are computed in worker threads. Requests that arrive meanwhile share the next run.
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

# Called after every run with the model, its rows, its results, and the seconds that the run took.
Listener = Callable[[LoadedModel, Matrix, Matrix, float], None]
# Called after every run, before its results are sent, with the model, its rows, its results, and for each request in
# their order: the request, if it is known, and its number of rows.
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
    """The requests that wait for the worker threads, for one model. `runs` is how many threads compute for it now."""

    waiting: deque[_Waiting]
    rows: int = 0
    runs: int = 0


class Batcher:
    """Runs models for requests.

    Args:
        workers: The threads for long runs.
        threads: The number of these threads.
        admission: Knows whether another request is in progress.
        queue_seconds: How long rows may have to wait for a thread. Rows that would wait longer are refused.
        on_run: Called for every run.
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
        """Return the results of a model for a matrix of shape [rows, columns].

        Raises:
            OverloadedError: if the rows would have to wait too long for a thread.
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
        """Compute everything that is ready."""
        ready, self._ready, self._ready_requests = self._ready, {}, 0
        for model, waiting in ready.items():
            for group in _groups(deque(waiting), model.pace.shared_rows):
                self._settle(model, group, _runs(model.runtime, group))

    def _settle(self, model: LoadedModel, group: list[_Waiting], runs: list[_Run]) -> None:
        """Give each request its results, from one run for the whole group or one run for each request."""
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
        """Compute rows in a worker thread."""
        lane = self._lanes.setdefault(model, _Lane(deque()))
        # The models that have requests now take turns at the threads.
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
        """Compute all requests in a lane, group by group."""
        loop = asyncio.get_running_loop()
        try:
            for group in _groups(lane.waiting, model.pace.shared_rows):
                lane.rows -= sum(len(waiting.rows) for waiting in group)
                try:
                    runs = await loop.run_in_executor(self._workers, _runs, model.runtime, group)
                except RuntimeError as error:  # no thread can be started; without an answer the callers would hang
                    runs = [_Run(waiting.rows, error, 0.0) for waiting in group]
                self._settle(model, group, runs)
        finally:
            lane.runs -= 1
            if not lane.runs:
                self._lanes.pop(model, None)


class WatchedBatcher(Batcher):
    """Passes every run, with all its requests, to the watchers. Replaces `Batcher` if there are any."""

    def __init__(self, watchers: Sequence[Watcher], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watchers = watchers

    def _settle(self, model: LoadedModel, group: list[_Waiting], runs: list[_Run]) -> None:
        # Before the watchers, because an error in one must not leave callers without their answers.
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
    """Take requests from the front of a queue, as many as fit into one run, until it is empty."""
    while waiting:
        group = [waiting.popleft()]
        rows = len(group[0].rows)
        while waiting and rows + len(waiting[0].rows) <= most_rows:
            rows += len(waiting[0].rows)
            group.append(waiting.popleft())
        yield group


def _runs(runtime: Runtime, group: list[_Waiting]) -> list[_Run]:
    """Compute a group in one run. If that fails, run each request alone, so that only the faulty one fails."""
    rows = group[0].rows if len(group) == 1 else np.concatenate([waiting.rows for waiting in group])
    start = time.perf_counter()
    result: Matrix | Exception
    try:
        result = runtime.run(rows)
    except Exception as error:  # noqa: BLE001  (runtimes raise anything; the caller of the request gets it)
        if len(group) > 1:
            return [run for waiting in group for run in _runs(runtime, [waiting])]
        result = error
    return [_Run(rows, result, time.perf_counter() - start)]


def _split(group: list[_Waiting], result: Matrix | Exception) -> list[Matrix | Exception]:
    """Return the part of a common result that belongs to each request."""
    if len(group) == 1 or isinstance(result, Exception):
        return [result]
    parts: list[Matrix | Exception] = []
    first = 0
    for waiting in group:
        parts.append(result[first : first + len(waiting.rows)])
        first += len(waiting.rows)
    return parts
