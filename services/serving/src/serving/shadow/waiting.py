"""What waits for the shadow: a bounded number of rows and bytes, put by the event loop and taken by the one worker."""

import threading
from collections import deque

import msgspec

from serving.asked import Asked
from serving.runtimes.base import Matrix
from serving.shadow.pair import Pair


class Answered(msgspec.Struct, frozen=True, eq=False):
    """Rows of one request, of shape [rows, columns], what the main version of a pair gave for them, and their size.

    `asked` describes the request, if that is noted; `first` is the place of the first of the rows in it.
    """

    pair: Pair
    rows: Matrix
    result: Matrix
    bytes: int
    asked: Asked | None = None
    first: int = 0

    def halved(self, first: int) -> "tuple[Answered, Answered]":
        """The first rows, and the others."""
        size = self.bytes * first // len(self.rows)
        return (
            Answered(self.pair, self.rows[:first], self.result[:first], size, self.asked, self.first),
            Answered(
                self.pair, self.rows[first:], self.result[first:], self.bytes - size, self.asked, self.first + first
            ),
        )


class Waiting:
    """A queue that takes nothing more once it holds `most_rows` rows or `most_bytes` bytes."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._queue: deque[Answered] = deque()
        self._rows = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, answered: Answered) -> bool:
        """Adds the rows of a request, unless they are too many or too large for the room that is left."""
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
        """Waits for rows of one pair, as many as one run may have; gives nothing once the queue is closed."""
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
        """Forgets what waits, and ends the waiting of who takes."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def _next(self, most: int) -> Answered:
        """Takes the first request, or of a long one its first rows."""
        first = self._queue.popleft()
        if len(first.rows) > most:
            first, rest = first.halved(most)
            self._queue.appendleft(rest)
        self._rows -= len(first.rows)
        self._bytes -= first.bytes
        return first
