"""What names stood for when the registry was last asked, for a while and for a bounded number of names."""

import time
from collections import OrderedDict

from serving.errors import ModelUnusableError, UnknownVersionError

Outcome = str | UnknownVersionError | ModelUnusableError


class Memory:
    """Remembers an outcome a name: a version number, or the error that looking it up or loading it ended in."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._outcomes: OrderedDict[str, tuple[Outcome, float]] = OrderedDict()

    def put(self, name: str, outcome: Outcome, seconds: float) -> None:
        """Remembers an outcome, as fresh for some seconds."""
        self._outcomes[name] = (outcome, time.monotonic() + seconds)
        self._outcomes.move_to_end(name)
        if len(self._outcomes) > self._capacity:
            self._outcomes.popitem(last=False)

    def fresh(self, name: str) -> str | None:
        """Gives the number that a name stands for; None when that is not known, or was long ago.

        Raises:
            UnknownVersionError, ModelUnusableError: when that is how it ended, not long ago.
        """
        outcome, until = self._outcomes.get(name, (None, 0.0))
        if outcome is None or time.monotonic() >= until:
            return None
        if isinstance(outcome, Exception):
            raise outcome.with_traceback(None)
        return outcome

    def stale(self, name: str) -> str | None:
        """Gives the number that a name stood for at last, however long ago that was."""
        outcome, _ = self._outcomes.get(name, (None, 0.0))
        return outcome if isinstance(outcome, str) else None
