"""How many requests are being answered, and when that is enough: the queue's bound."""

import contextlib
from collections.abc import Iterator


class Admission:
    """Counts the requests that compete for the processor: those that have come in whole and are not answered.

    The server that runs the application counts them; with one that does not, nothing is ever too much.
    """

    def __init__(self, limit: int) -> None:
        self.competing = 0
        self._limit = limit

    @property
    def full(self) -> bool:
        """Whether one more request would only make all others wait longer."""
        return self.competing >= self._limit

    @contextlib.contextmanager
    def parked(self) -> Iterator[None]:
        """Leaves a request out of the count inside the block, where it waits for something else than the processor."""
        self.competing -= 1
        try:
            yield
        finally:
            self.competing += 1
