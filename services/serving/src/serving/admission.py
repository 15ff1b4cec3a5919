"""How many requests are being answered, and when that is enough: the queue's bounds."""

import contextlib
import time
from collections.abc import Callable, Iterator

# Requests that may wait however long they take: a service for slow models serves a few callers at once, too.
_AT_LEAST = 16
# What requests take is learned from this many answers, or from fewer when nobody waits any more.
_SAMPLE = 64


class Admission:
    """Counts the requests that compete for the processor: those that have come in whole and are not answered.

    The server that runs the application counts them; with one that does not, nothing is ever too much.

    A bound on their number alone would let requests that take long wait long, so it shrinks to those that can be
    answered within a time, by what requests took lately.

    Args:
        limit: The most requests that may compete.
        seconds: How long a request may have to wait for those before it.
        clock: Tells the time in seconds.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.competing = 0
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._bound = limit
        self._cost = 0.0
        self._answered = 0
        self._since = clock()

    @property
    def full(self) -> bool:
        """Whether one more request would only make all others wait longer."""
        return self.competing >= self._bound

    def came(self) -> None:
        """Counts a request that has come in whole."""
        if not self.competing:
            self._since = self._clock()
        self.competing += 1

    def answered(self) -> None:
        """Counts one that has its answer."""
        self.competing -= 1
        self._answered += 1
        if not self.competing or self._answered >= _SAMPLE:
            self._learn()

    def left(self, requests: int = 1) -> None:
        """Counts requests that are not waited for any more."""
        self.competing -= requests
        if not self.competing and self._answered:
            self._learn()

    @contextlib.contextmanager
    def parked(self) -> Iterator[None]:
        """Leaves a request out of the count inside the block, where it waits for something else than the processor."""
        self.left()
        try:
            yield
        finally:
            self.came()

    def _learn(self) -> None:
        """Takes the time since somebody began to wait, or since the last look, as what the answers in it took."""
        now = self._clock()
        took = (now - self._since) / self._answered
        self._cost += (took - self._cost) * self._answered / (2 * _SAMPLE)
        in_time = self._seconds / self._cost if self._cost else self._limit
        self._bound = int(min(self._limit, max(_AT_LEAST, in_time)))
        self._answered = 0
        self._since = now
