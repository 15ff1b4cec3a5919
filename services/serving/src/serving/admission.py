"""Admission control: counts the requests that wait, and bounds how many may."""

import contextlib
import time
from collections.abc import Callable, Iterator

# This many requests may wait, however long each takes: a service for slow models also has a few callers at once.
_AT_LEAST = 16
# The mean time of a request is updated after this many answers, or after fewer when no request is left.
_SAMPLE = 64


class Admission:
    """Counts the requests that compete for the processor: those that have arrived completely and have no answer yet.

    The server that runs the application does the counting. A server that does not count never refuses a request.

    A bound on the number alone would let slow requests wait for a long time. So the bound shrinks to the number that
    can be answered within `seconds`, estimated from recent answers.

    Args:
        limit: The most requests that may compete; also an attribute.
        seconds: How long a request may have to wait for the requests before it.
        clock: Returns the time in seconds.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.competing = 0
        self.limit = limit
        self._seconds = seconds
        self._clock = clock
        self._bound = limit
        self._cost = 0.0
        self._answered = 0
        self._since = clock()

    @property
    def full(self) -> bool:
        """Whether another request would only make the others wait longer."""
        return self.competing >= self._bound

    def came(self) -> None:
        """Count a request that has arrived completely."""
        if not self.competing:
            self._since = self._clock()
        self.competing += 1

    def answered(self) -> None:
        """Count a request that has been answered."""
        self.competing -= 1
        self._answered += 1
        if not self.competing or self._answered >= _SAMPLE:
            self._learn()

    def left(self, requests: int = 1) -> None:
        """Count requests that nobody waits for any more."""
        self.competing -= requests
        if not self.competing and self._answered:
            self._learn()

    @contextlib.contextmanager
    def parked(self) -> Iterator[None]:
        """Leave a request out of the count inside the block, while it waits for something other than the processor."""
        self.left()
        try:
            yield
        finally:
            self.came()

    def _learn(self) -> None:
        """Update the mean time of a request, from the answers since the last update or since the queue was empty."""
        now = self._clock()
        took = (now - self._since) / self._answered
        self._cost += (took - self._cost) * self._answered / (2 * _SAMPLE)
        in_time = self._seconds / self._cost if self._cost else self.limit
        self._bound = int(min(self.limit, max(_AT_LEAST, in_time)))
        self._answered = 0
        self._since = now
