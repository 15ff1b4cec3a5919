"""The thread that formats and compresses lines, with a bounded share of CPU time."""

import logging
import threading
import time

from serving.log.entries import Entry, Pending, Truths, Waiting
from serving.log.files import Files
from serving.log.lines import Choice, Lines, of_truths
from serving.log.tally import LogTally

logger = logging.getLogger(__name__)

# The thread may use this share of the CPU time of one core: it pauses four times as long as it computed. It has normal
# priority: it holds the GIL now and then, and a thread with low priority would keep it while it waits for a core.
SHARE = 0.2
# This many rows are written at a time, in less than a millisecond, because requests wait meanwhile.
_ROWS_AT_ONCE = 128


class Writer:
    """Writes the queued entries into files."""

    def __init__(self, waiting: Waiting, files: Files, truths: Files, choice: Choice, tally: LogTally) -> None:
        self._waiting = waiting
        self._files = files
        self._truths = truths
        self._choice = choice
        self._tally = tally
        self._stopping = threading.Event()
        # The formatter of each model, for the version that was written last.
        self._lines: dict[str, tuple[object, Lines]] = {}
        self._failures: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="prediction log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Let the thread write the remaining rows without pauses, and end its files, within `seconds` seconds."""
        self._stopping.set()
        self._waiting.close()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _work(self) -> None:
        while (group := self._waiting.take(_ROWS_AT_ONCE, self._wait())) is not None:
            start = time.thread_time()
            if group:
                self._write(group)
            self._files.end_if_due()
            self._truths.end_if_due()
            self._stopping.wait((time.thread_time() - start) * (1 / SHARE - 1))
        self._files.end()
        self._truths.end()

    def _wait(self) -> float:
        return min(self._files.wait(), self._truths.wait())

    def _write(self, group: list[Pending]) -> None:
        """Write rows. If that fails, write each half alone, so that a faulty row does not lose the others."""
        try:
            truths = [entry for entry in group if isinstance(entry, Truths)]
            answers = [entry for entry in group if isinstance(entry, Entry)]
            # All lines are formatted before the first is added, so that none is written twice.
            told, hours = list(of_truths(truths)), list(self._lines_of(answers).of(answers)) if answers else []
        except Exception as error:  # noqa: BLE001  (after any error the next rows must be written)
            parts = _halves(group)
            for part in parts:
                self._write(part)
            if not parts:
                self._fail(group, error)
            return
        try:
            for hour in told:
                self._truths.add(hour)
            for hour in hours:
                self._files.add(hour)
        except Exception as error:  # noqa: BLE001  (as above)
            self._fail(group, error)

    def _fail(self, group: list[Pending], error: Exception) -> None:
        self._tally.dropped("failed", sum(len(entry.places) for entry in group))
        self._say(error)

    def _lines_of(self, group: list[Entry]) -> Lines:
        model = group[0].model
        known, lines = self._lines.get(model.name, (None, None))
        if lines is None or known is not model:
            lines = Lines(model, self._choice)
            self._lines[model.name] = (model, lines)
        return lines

    def _say(self, error: Exception) -> None:
        """Log each kind of failure once, because there may be one for each request."""
        kind = type(error).__name__
        if kind not in self._failures:
            self._failures.add(kind)
            logger.warning("rows cannot be written into the prediction log", extra={"reason": f"{kind}: {error}"[:500]})


def _halves(group: list[Pending]) -> list[list[Pending]]:
    """Split entries in two, or the rows of a single entry. Return an empty list if there is only one row."""
    if len(group) > 1:
        return [group[: len(group) // 2], group[len(group) // 2 :]]
    [entry] = group
    return [[half] for half in entry.halved(len(entry.places) // 2)] if len(entry.places) > 1 else []
