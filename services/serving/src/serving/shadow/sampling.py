"""Selects rows for the shadow: takes the rows of a sample of the requests, after their answers were sent."""

import asyncio
import random

from serving.asked import Asked
from serving.batching import Shares
from serving.loader import LoadedModel
from serving.metrics import Metrics
from serving.runtimes.base import Matrix
from serving.shadow.pair import Pair
from serving.shadow.tally import ShadowTally
from serving.shadow.version import ShadowVersion
from serving.shadow.waiting import Answered, Waiting
from serving.shadow.worker import Differed, Worker
from serving.sizes import own, size_of

# The most rows and bytes that may wait for the shadow.
MOST_ROWS = 10_000
MOST_BYTES = 16 * 1024 * 1024
# Rows are handed over this long after the first of them was computed. By then all answers were sent, and the worker
# wakes up for many rows at once, because waking it costs more than computing some rows.
_AFTER_SECONDS = 0.1


class Shadow:
    """Compares a sample of the main model's answers with those of a second version.

    `on_differed` is called with the rows whose answers differ, once for each request.
    """

    def __init__(
        self, version: ShadowVersion, sample: float, metrics: Metrics, on_differed: Differed | None = None
    ) -> None:
        self._version = version
        self._sample = sample
        self._tally = ShadowTally(version.name, version.version, lambda: version.pair is not None)
        metrics.register(self._tally)
        self._waiting = Waiting(MOST_ROWS, MOST_BYTES)
        self._worker = Worker(self._waiting, self._tally, on_differed)
        self._later: list[tuple[Pair, Matrix, Matrix, Asked | None]] = []
        self._later_rows = 0

    def start(self) -> None:
        """Start to compare. Rows are taken once the version is loaded."""
        self._worker.start()

    async def aclose(self) -> None:
        """Stop, and discard the rows that still wait."""
        await asyncio.to_thread(self._worker.stop)

    def computed(self, model: LoadedModel, rows: Matrix, result: Matrix, shares: Shares) -> None:
        """Keep the rows and results of the sampled requests in a run that is about to be answered."""
        pair = self._version.pair
        if pair is None or model is not pair.main:
            return
        first = 0
        for asked, count in shares:
            if random.random() < self._sample:  # noqa: S311  (a sample)
                self._note(pair, rows[first : first + count], result[first : first + count], asked)
            first += count

    def _note(self, pair: Pair, rows: Matrix, result: Matrix, asked: Asked | None) -> None:
        if self._later_rows + len(rows) > MOST_ROWS:
            self._tally.dropped(len(rows))
            return
        if not self._later:
            asyncio.get_running_loop().call_later(_AFTER_SECONDS, self._hand_over)
        self._later.append((pair, rows, result, asked))
        self._later_rows += len(rows)

    def _hand_over(self) -> None:
        later, self._later, self._later_rows = self._later, [], 0
        for pair, rows, result, asked in later:
            alone, found = own(rows), own(result)
            size = size_of(pair.main.spec, alone) + found.nbytes
            if not self._waiting.put(Answered(pair, alone, found, size, asked)):
                self._tally.dropped(len(rows))
