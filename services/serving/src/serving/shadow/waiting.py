"""The queue of the shadow: a bounded number of rows and bytes, added by the event loop and taken by one worker."""

import threading
from collections import deque

import msgspec

from serving.asked import Asked
from serving.runtimes.base import Matrix
from serving.shadow.pair import Pair


class Answered(msgspec.Struct, frozen=True, eq=False):
    """Rows of one request, of shape [rows, columns], the main version's result for them, and their size in bytes.

    `asked` is the request, if it is known. `first` is the index of the first of these rows in it.
    """

    pair: Pair
    rows: Matrix
    result: Matrix
    bytes: int
    asked: Asked | None = None
    first: int = 0

    def halved(self, first: int) -> "tuple[Answered, Answered]":
        """Return the first rows, and the others."""
        size = self.bytes * first // len(self.rows)
        return (
            Answered(self.pair, self.rows[:first], self.result[:first], size, self.asked, self.first),
            Answered(
                self.pair, self.rows[first:], self.result[first:], self.bytes - size, self.asked, self.first + first
            ),
        )


class Waiting:
    """A queue of at most `most_rows` rows and `most_bytes` bytes."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._queue: deque[Answered] = deque()
        self._rows = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, answered: Answered) -> bool:
        """Add the rows of a request. Return False, without adding them, if there is no room."""
        rows = len(answered.rows)
        with self._changed:
            if self._rows + rows > self._most_rows or self._bytes + answered.bytes > self._most_bytes:
                return False
            self._queue.append(answered)
            self._rows += rows
            self._bytes += answered.bytes
            self._changed.notify()
        return True

    def take(self) -> list[Answered]:
        """Wait for rows of one pair, up to the limit of one run. Return an empty list once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._closed:
                return []
            pair = self._queue[0].pair
            group, left = [self._next(pair.most_rows)], pair.most_rows
            left -= len(group[0].rows)
            while self._queue and self._queue[0].pair is pair and len(self._queue[0].rows) <= left:
                group.append(self._next(left))
                left -= len(group[-1].rows)
            return group

    def close(self) -> None:
        """Discard the waiting rows, and wake up the worker so that it ends."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def _next(self, most: int) -> Answered:
        """Take the first request, or the first rows of a long one."""
        first = self._queue.popleft()
        if len(first.rows) > most:
            first, rest = first.halved(most)
            self._queue.appendleft(rest)
        self._rows -= len(first.rows)
        self._bytes -= first.bytes
        return first
