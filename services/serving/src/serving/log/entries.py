"""The queue of the log: a bounded number of rows and bytes, added by any thread and taken by the writer's thread."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from serving.asked import Asked
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix
from serving.schemas import TruthOfRow

# Why rows may be written: for the sample, for their values (checked by the writer), or because the shadow disagrees.
Why = Literal["sample", "perhaps", "shadow"]


class Entry(Struct, frozen=True, eq=False, gc=False):
    """Rows of one model from one or more requests, with their results, and the request of each row.

    `places` are the indices of the rows in their requests. `times` are the times of the answers in seconds since 1970.
    `bytes` is the total size.
    """

    model: LoadedModel
    rows: Matrix
    result: Matrix
    asked: Sequence[Asked]
    places: Sequence[int]
    times: Sequence[float]
    why: Why
    bytes: int

    def halved(self, first: int) -> "tuple[Entry, Entry]":
        """Return the first rows, and the others."""
        size = self.bytes * first // len(self.places)
        return self._part(slice(first), size), self._part(slice(first, None), self.bytes - size)

    def _part(self, part: slice, size: int) -> "Entry":
        rows, result, asked, places, times = (
            self.rows[part], self.result[part], self.asked[part], self.places[part], self.times[part],
        )  # fmt: skip
        return Entry(self.model, rows, result, asked, places, times, self.why, size)


class Truths(Struct, frozen=True, eq=False, gc=False):
    """The truth that a caller sent for earlier rows, the time in seconds since 1970, and the total size in bytes."""

    told: Sequence[TruthOfRow]
    owner: str
    time: float
    bytes: int
    model: None = None

    @property
    def places(self) -> Sequence[int]:
        """A number for each row."""
        return range(len(self.told))

    def halved(self, first: int) -> "tuple[Truths, Truths]":
        """Return the first rows, and the others."""
        size = self.bytes * first // len(self.told)
        return (
            Truths(self.told[:first], self.owner, self.time, size),
            Truths(self.told[first:], self.owner, self.time, self.bytes - size),
        )


Pending = Entry | Truths


class Waiting:
    """A queue of at most `most_rows` rows and `most_bytes` bytes."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._queue: deque[Pending] = deque()
        self._rows = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, entries: Iterable[Pending]) -> int:
        """Add entries, and return the number of rows that there was no room for."""
        left_out = 0
        with self._changed:
            for entry in entries:
                rows = len(entry.places)
                full = self._rows + rows > self._most_rows or self._bytes + entry.bytes > self._most_bytes
                if full or self._closed:
                    left_out += rows
                    continue
                self._queue.append(entry)
                self._rows += rows
                self._bytes += entry.bytes
            self._changed.notify()
        return left_out

    def take(self, most_rows: int, seconds: float) -> list[Pending] | None:
        """Take up to `most_rows` rows of one model, or truths. If there are none, wait up to `seconds` seconds.

        Once the queue is closed it does not wait. None means that the queue is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, seconds)
            if not self._queue:
                return None if self._closed else []
            model = self._queue[0].model
            group: list[Pending] = []
            while most_rows and self._queue and self._queue[0].model is model:
                entry = self._next(most_rows)
                most_rows -= len(entry.places)
                group.append(entry)
            return group

    def close(self) -> None:
        """Accept no more entries."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self, most: int) -> Pending:
        """Take the first entry, or the first rows of a long one."""
        entry = self._queue.popleft()
        if len(entry.places) > most:
            rest: Pending
            entry, rest = entry.halved(most)
            self._queue.appendleft(rest)
        self._rows -= len(entry.places)
        self._bytes -= entry.bytes
        return entry
