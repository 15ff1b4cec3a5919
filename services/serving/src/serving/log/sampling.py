"""Selects the rows to log: keeps the rows of each request, and queues them after their answers were sent."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelformat.logged import FEEDBACK_SUFFIX
from serving.asked import Asked
from serving.backoff import Backoff
from serving.batching import Shares
from serving.loader import LoadedModel
from serving.log.entries import Entry, Truths, Waiting, Why
from serving.log.files import Files
from serving.log.lines import Choice, answers_surely, unsure_in
from serving.log.sender import MOST_BYTES as MOST_UNSENT_BYTES
from serving.log.sender import Sender
from serving.log.store import LogStore
from serving.log.tally import LogTally
from serving.log.writer import Writer
from serving.metrics import Metrics
from serving.runtimes.base import Matrix
from serving.schemas import TruthOfRow
from serving.settings import Settings
from serving.sizes import own, size_of

logger = logging.getLogger(__name__)

# The most rows and bytes in the queue.
MOST_ROWS = 20_000
MOST_BYTES = 16 * 1024 * 1024
# The size of a truth in addition to its texts.
_TRUTH_BYTES = 200
# Rows are checked and queued this long after the first of them was computed, or when there are many. By then all
# answers were sent, the thread wakes up for many rows at once, and numpy takes hardly longer for them than for one.
_AFTER_SECONDS = 0.1
_ROWS_AT_ONCE, _VALUES_AT_ONCE = 4096, 65536
# A request of this many rows is a separate entry, which is queued or dropped by itself.
_LONG = 32
# The share of the time to end that the thread may take for the waiting rows. The rest is for the store.
_WRITING_SHARE = 0.4


# The rows of a run, their results, their requests, and the time. A tuple, because nothing else is as cheap.
_Noted: TypeAlias = tuple[Matrix, Matrix, Shares, float]


class PredictionLog:
    """Logs a sample of the answers of models, and every row that the settings select."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Set up the log, without a request.

        Args:
            settings: The settings of the process, with an address in PREDICTION_LOG.
            metrics: Where the metrics of the log are registered.
        """
        self._choice = choice = Choice(
            settings.logged_columns, settings.prediction_log_below, settings.prediction_log_unknown
        )
        self._uri = settings.prediction_log
        self._sample = settings.prediction_log_sample
        self._by_row = bool(choice.below or choice.unknown)
        self._end_seconds = settings.prediction_log_end_seconds
        self._tally = LogTally()
        metrics.register(self._tally)
        self._store = LogStore(
            self._uri,
            settings.s3_endpoint_url,
            settings.aws_region,
            settings.prediction_log_keys,
            settings.ssl_cert_file,
        )
        backoff = Backoff(settings.retry_min_seconds, settings.retry_max_seconds)
        self._sender = Sender(self._store.put, backoff, self._tally, MOST_UNSENT_BYTES)
        self._waiting = Waiting(MOST_ROWS, MOST_BYTES)
        files = Files(settings.prediction_log_seconds, self._sender.offer)
        truths = Files(settings.prediction_log_seconds, self._sender.offer, FEEDBACK_SUFFIX)
        self._writer = Writer(self._waiting, files, truths, choice, self._tally)
        self._later: dict[LoadedModel, list[_Noted]] = {}
        self._later_rows = self._later_values = 0
        self._due: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to write. Must be called in the event loop."""
        self._sending = self._sender.start()
        self._writer.start()
        logger.info("predictions are logged", extra={"uri": self._uri, "sample": self._sample})

    async def aclose(self) -> None:
        """Write and send all remaining rows, within PREDICTION_LOG_END_SECONDS."""
        deadline = time.monotonic() + self._end_seconds
        self._hand_over()
        await asyncio.to_thread(self._writer.stop, self._end_seconds * _WRITING_SHARE)
        # The thread hands over its last file by a callback of the loop.
        await asyncio.sleep(0)
        self._sender.end()
        if self._sending:
            await asyncio.wait([self._sending], timeout=max(0.0, deadline - time.monotonic()))
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        self._sender.give_up()
        await self._store.aclose()

    def computed(self, model: LoadedModel, rows: Matrix, result: Matrix, shares: Shares) -> None:
        """Keep the rows of a run that is about to be answered. Every request waits for this, so it does no more."""
        wanted = self._by_row
        for asked, _ in shares:
            if asked is not None and random.random() < self._sample:  # noqa: S311  (a sample)
                asked.sampled = wanted = True
        if not wanted:
            return
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_AFTER_SECONDS, self._hand_over)
        self._later.setdefault(model, []).append((rows, result, shares, time.time()))
        self._later_rows += len(rows)
        self._later_values += rows.size
        if self._later_rows >= _ROWS_AT_ONCE or self._later_values >= _VALUES_AT_ONCE:
            self._hand_over()

    def told(self, truths: Sequence[TruthOfRow], owner: str) -> bool:
        """Queue the truth about rows that were answered before. Return False if there is no room for it now."""
        size = sum(len(each.request_id) + len(str(each.truth)) + _TRUTH_BYTES for each in truths)
        return not self._waiting.put([Truths(truths, owner, time.time(), size)])

    def differed(self, model: LoadedModel, rows: Matrix, result: Matrix, asked: Asked, places: Sequence[int]) -> None:
        """Queue rows of a request whose answer from the shadow differs. Called by the shadow's thread."""
        if not asked.sampled:
            count = len(places)
            entry = _entry(model, rows, result, [asked] * count, places, [time.time()] * count, "shadow")
            self._tally.dropped("queue", self._waiting.put([entry]))

    def _hand_over(self) -> None:
        """Queue all rows of sampled requests, and of others those that the settings select."""
        if self._due is not None:
            self._due.cancel()
        later, self._later, self._due = self._later, {}, None
        self._later_rows = self._later_values = 0
        for model, noted in later.items():
            # If there is nothing to write, the thread is not woken up.
            if chosen := list(self._chosen(model, noted)):
                self._tally.dropped("queue", self._waiting.put(chosen))

    def _chosen(self, model: LoadedModel, noted: list[_Noted]) -> Iterator[Entry]:
        """Yield an entry for each long request, and common ones for short requests, since one each would cost more."""
        deserving = deque(self._deserving(model, noted))
        sampled, others = _Gathered(), _Gathered()
        # The index of the request's first row among the rows of all runs.
        first = 0
        for rows, result, shares, when in noted:
            before = first
            for asked, count in shares:
                is_sampled = asked is not None and asked.sampled
                if asked is not None and is_sampled and count >= _LONG:
                    part = slice(first - before, first - before + count)
                    told = [asked] * count, range(count), [when] * count
                    yield _entry(model, own(rows[part]), own(result[part]), *told, "sample")
                elif asked is not None and is_sampled:
                    sampled.add(first, range(count), asked, when)
                while deserving and deserving[0] < first + count:
                    place = deserving.popleft() - first
                    if asked is not None and not is_sampled:
                        others.add(first, (place,), asked, when)
                first += count
        whys: tuple[tuple[_Gathered, Why], ...] = ((sampled, "sample"), (others, "perhaps"))
        for gathered, why in whys:
            if gathered.at:
                rows, result = (np.concatenate(part)[gathered.at] for part in _parts(noted))
                yield _entry(model, rows, result, gathered.asked, gathered.places, gathered.times, why)

    def _deserving(self, model: LoadedModel, noted: list[_Noted]) -> list[int]:
        """Return the rows that the settings select, by their indices among all rows. There are few of them."""
        rows, result = _parts(noted)
        found: NDArray[np.bool_] | None = None
        if self._choice.below and answers_surely(model.spec):
            found = unsure_in(np.concatenate(result), model.spec, self._choice.below)
        if self._choice.unknown and model.spec.mixed:
            unknown = model.reader.unknown_in(np.concatenate(rows))
            found = unknown if found is None else found | unknown
        return [] if found is None else np.flatnonzero(found).tolist()


class _Gathered:
    """Rows of several requests, by their indices among the rows of all runs."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.asked: list[Asked] = []
        self.places: list[int] = []
        self.times: list[float] = []

    def add(self, first: int, places: Iterable[int], asked: Asked, when: float) -> None:
        """Add rows of one request, whose first row has the index `first` among all."""
        for place in places:
            self.at.append(first + place)
            self.asked.append(asked)
            self.places.append(place)
            self.times.append(when)


def _parts(noted: list[_Noted]) -> tuple[list[Matrix], list[Matrix]]:
    return [rows for rows, *_ in noted], [result for _, result, *_ in noted]


def _entry(
    model: LoadedModel,
    rows: Matrix,
    result: Matrix,
    asked: Sequence[Asked],
    places: Sequence[int],
    times: Sequence[float],
    why: Why,
) -> Entry:
    size = size_of(model.spec, rows) + result.nbytes
    return Entry(model, rows, result, asked, places, times, why, size)
