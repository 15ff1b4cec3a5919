"""What waits to be written: a bounded number of rows and bytes, put by any thread and taken by the one that writes."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from serving.asked import Asked
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix
from serving.schemas import TruthOfRow

# Why rows may be written: by chance, because they deserve it (which is seen later), or because the shadow disagrees.
Why = Literal["sample", "perhaps", "shadow"]


class Entry(Struct, frozen=True, eq=False, gc=False):
    """Rows of one model, of one request or of many, what it gave for them, and of each row who asked.

    `places` are the rows' numbers in their requests, `times` when they were answered, in seconds since 1970, and
    `bytes` the size of it all.
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
        """The first rows, and the others."""
        size = self.bytes * first // len(self.places)
        return self._part(slice(first), size), self._part(slice(first, None), self.bytes - size)

    def _part(self, part: slice, size: int) -> "Entry":
        rows, result, asked, places, times = (
            self.rows[part], self.result[part], self.asked[part], self.places[part], self.times[part],
        )  # fmt: skip
        return Entry(self.model, rows, result, asked, places, times, self.why, size)


class Truths(Struct, frozen=True, eq=False, gc=False):
    """The truth that a caller sent for earlier rows, the time in seconds since 1970, and the total size."""

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
        """The first rows, and the others."""
        size = self.bytes * first // len(self.told)
        return (
            Truths(self.told[:first], self.owner, self.time, size),
            Truths(self.told[first:], self.owner, self.time, self.bytes - size),
        )


Pending = Entry | Truths


class Waiting:
    """A queue that takes nothing more once it holds `most_rows` rows or `most_bytes` bytes."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._queue: deque[Pending] = deque()
        self._rows = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, entries: Iterable[Pending]) -> int:
        """Adds entries, and gives the number of rows that there was no room for."""
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
        """Takes entries of one model, or truths, of some rows together; waits for so many seconds where there are none.

        Nothing is waited for any more once the queue is closed; None tells that it is empty as well.
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
        """Takes nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self, most: int) -> Pending:
        """Takes the first entry, or of a long one its first rows."""
        entry = self._queue.popleft()
        if len(entry.places) > most:
            rest: Pending
            entry, rest = entry.halved(most)
            self._queue.appendleft(rest)
        self._rows -= len(entry.places)
        self._bytes -= entry.bytes
        return entry
