"""Retry delays that grow after each failure, up to a cap, and vary so that many processes do not retry in step."""

import random


class Backoff:
    """Delays of `first`, 2 x `first`, 4 x `first` ... seconds up to `cap`, each up to a quarter shorter at random."""

    def __init__(self, first: float, cap: float) -> None:
        self._first = first
        self._cap = cap
        self._failures = 0

    def next(self) -> float:
        """Return the seconds to wait after another failure."""
        wait = min(self._cap, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return wait * random.uniform(0.75, 1.0)  # noqa: S311  (spreads load; nothing secret)

    def reset(self) -> None:
        """Start again from `first`, after a success."""
        self._failures = 0
