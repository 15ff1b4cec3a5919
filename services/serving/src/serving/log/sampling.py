"""Between the answers and the log: notes the rows of requests, and hands them over once their answers are out."""

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from modelformat.logged import FEEDBACK_SUFFIX
from serving.asked import ASKED, Asked
from serving.backoff import Backoff
from serving.loader import LoadedModel
from serving.log.entries import Entry, Truths, Waiting
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

# What may wait to be written.
MOST_ROWS = 20_000
MOST_BYTES = 16 * 1024 * 1024
# What a truth takes beside its texts.
_TRUTH_BYTES = 200
# Rows are handed over so long after the first of them was computed, so all answers are out, and the thread wakes up for
# many at once.
_AFTER_SECONDS = 0.1
# Of the time to end, what the thread may take for the rows that wait; the rest is the store's.
_WRITING_SHARE = 0.4


# What a request leaves behind: the model, its rows, what that gave, who asked, and when. Nothing cheaper holds them.
_Noted: TypeAlias = tuple[LoadedModel, Matrix, Matrix, Asked, float]


class PredictionLog:
    """Logs a share of what models answer, and every row that deserves it, as the settings say."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Contacts nobody yet.

        Args:
            settings: The process's, whose PREDICTION_LOG names an address.
            metrics: Tell how the log does.
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
        self._later: list[_Noted] = []
        self._later_rows = 0
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to write. Belongs to the event loop."""
        self._sending = self._sender.start()
        self._writer.start()
        logger.info("predictions are logged", extra={"uri": self._uri, "sample": self._sample})

    async def aclose(self) -> None:
        """Writes and sends what there is, as far as PREDICTION_LOG_END_SECONDS reach."""
        deadline = time.monotonic() + self._end_seconds
        self._hand_over()
        await asyncio.to_thread(self._writer.stop, self._end_seconds * _WRITING_SHARE)
        # The thread's last file is put down by a callback of the loop.
        await asyncio.sleep(0)
        self._sender.end()
        if self._sending:
            await asyncio.wait([self._sending], timeout=max(0.0, deadline - time.monotonic()))
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        self._sender.give_up()
        await self._store.aclose()

    def computed(self, model: LoadedModel, rows: Matrix, result: Matrix) -> None:
        """Notes what is about to be answered. That, and no more, is on the way of every request."""
        asked = ASKED.get(None)
        if asked is None:
            return
        asked.sampled = random.random() < self._sample  # noqa: S311  (a sample)
        if not (asked.sampled or self._by_row):
            return
        if self._later_rows + len(rows) > MOST_ROWS:
            self._tally.dropped("queue", len(rows))
            return
        if not self._later:
            asyncio.get_running_loop().call_later(_AFTER_SECONDS, self._hand_over)
        self._later.append((model, rows, result, asked, time.time()))
        self._later_rows += len(rows)

    def told(self, truths: Sequence[TruthOfRow], owner: str) -> bool:
        """Takes what was true of rows that were answered before; False where there is no room for it now."""
        size = sum(len(each.request_id) + len(str(each.truth)) + _TRUTH_BYTES for each in truths)
        return not self._waiting.put([Truths(truths, owner, time.time(), size)])

    def differed(self, model: LoadedModel, rows: Matrix, result: Matrix, asked: Asked, places: Sequence[int]) -> None:
        """Takes rows of a request for which the shadow says something else; called by the shadow's thread."""
        if not asked.sampled:
            size = size_of(model.spec, rows) + result.nbytes
            entry = Entry(model, rows, result, asked, places, time.time(), "shadow", size)
            self._tally.dropped("queue", self._waiting.put([entry]))

    def _hand_over(self) -> None:
        later, self._later, self._later_rows = self._later, [], 0
        by_model: dict[LoadedModel, list[_Noted]] = {}
        for noted in later:
            by_model.setdefault(noted[0], []).append(noted)
        for model, group in by_model.items():
            chosen = [_entry(noted) for noted in self._deserving(model, group)]
            self._tally.dropped("queue", self._waiting.put(chosen))

    def _deserving(self, model: LoadedModel, group: list[_Noted]) -> Iterable[_Noted]:
        """Leaves out requests of which no row is going to be written; those are most, and told at little cost."""
        if not self._by_row or (self._choice.unknown and model.spec.mixed):
            return group
        if not (self._choice.below and answers_surely(model.spec)):
            return (noted for noted in group if noted[3].sampled)
        unsure = unsure_in(np.concatenate([noted[2] for noted in group]), model.spec, self._choice.below)
        firsts = np.cumsum([0, *(len(noted[2]) for noted in group[:-1])])
        some = np.logical_or.reduceat(unsure, firsts).tolist()
        return (noted for noted, wanted in zip(group, some, strict=True) if wanted or noted[3].sampled)


def _entry(noted: _Noted) -> Entry:
    model, rows, result, asked, when = noted
    rows, result = own(rows), own(result)
    size = size_of(model.spec, rows) + result.nbytes
    return Entry(model, rows, result, asked, range(len(rows)), when, "sample" if asked.sampled else "perhaps", size)
