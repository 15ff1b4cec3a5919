"""The thread of the shadow: one, of low priority, with a bounded share of CPU time."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from serving.asked import Asked
from serving.loader import LoadedModel
from serving.priority import step_back
from serving.runtimes.base import Matrix
from serving.shadow.tally import ShadowTally
from serving.shadow.waiting import Answered, Waiting

logger = logging.getLogger(__name__)

# Called for each request with rows that the shadow answered differently: the model that answered, those rows, their
# results, the request, and the indices of the rows in the request.
Differed: TypeAlias = Callable[[LoadedModel, Matrix, Matrix, Asked, Sequence[int]], None]

# The thread may use this share of the CPU time of one core: it pauses four times as long as it computed.
SHARE = 0.2
_STOP_SECONDS = 5.0


class Worker:
    """Runs the shadow on waiting rows. Passes the comparison to the tally, and rows that differ to `on_differed`."""

    def __init__(self, waiting: Waiting, tally: ShadowTally, on_differed: Differed | None) -> None:
        self._waiting = waiting
        self._tally = tally
        self._on_differed = on_differed
        self._stopping = threading.Event()
        self._failures: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after its current run, and discard the waiting rows."""
        self._stopping.set()
        self._waiting.close()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _work(self) -> None:
        step_back()
        while group := self._waiting.take():
            start = time.thread_time()
            # A request whose answer was not finite was refused.
            if group := [each for each in group if np.isfinite(each.result).all()]:
                self._handle(group)
            self._stopping.wait((time.thread_time() - start) * (1 / SHARE - 1))

    def _handle(self, group: list[Answered]) -> None:
        """Compute a group. The last request runs alone, as it mostly does in the main version, and is timed."""
        *others, last = group
        if others:
            self._compare(others, timed=False)
        self._compare([last], timed=True)

    def _compare(self, group: list[Answered], *, timed: bool) -> None:
        pair = group[0].pair
        rows, result = (
            getattr(group[0], part) if len(group) == 1 else np.concatenate([getattr(each, part) for each in group])
            for part in ("rows", "result")
        )
        # CPU time, because the thread may have to wait for a processor.
        start = time.thread_time()
        try:
            found = pair.run(rows)
            seconds = time.thread_time() - start
            comparison = pair.compare(rows, result, found)
        except Exception as error:  # noqa: BLE001  (runtimes raise anything)
            if len(group) > 1:
                for each in group:
                    self._compare([each], timed=False)
                return
            self._tally.failed(len(rows))
            self._say(error)
            return
        if timed:
            self._tally.timed(seconds)
        self._tally.compared(pair, comparison)
        if self._on_differed is not None and comparison.differed:
            _tell(self._on_differed, group, comparison.differing)

    def _say(self, error: Exception) -> None:
        """Log each kind of failure once, because there may be one for each request."""
        kind = type(error).__name__
        if kind not in self._failures:
            self._failures.add(kind)
            logger.warning("the shadow fails on rows that were answered", extra={"reason": f"{kind}: {error}"[:500]})


def _tell(on_differed: Differed, group: list[Answered], differing: NDArray[np.bool_]) -> None:
    """Call `on_differed` for each request that has rows that differ."""
    first = 0
    for each in group:
        places = np.flatnonzero(differing[first : first + len(each.rows)])
        first += len(each.rows)
        if each.asked is not None and len(places):
            rows, result = each.rows[places], each.result[places]
            on_differed(each.pair.main, rows, result, each.asked, (places + each.first).tolist())
