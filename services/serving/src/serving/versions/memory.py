"""A cache of what names meant when the registry was last asked, with a bounded age and number of names."""

import time
from collections import OrderedDict

from serving.errors import ModelUnusableError, UnknownVersionError

Outcome = str | UnknownVersionError | ModelUnusableError


class Memory:
    """Remembers an outcome for each name: a version number, or the error of looking it up or loading it."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._outcomes: OrderedDict[str, tuple[Outcome, float]] = OrderedDict()

    def put(self, name: str, outcome: Outcome, seconds: float) -> None:
        """Remember an outcome, which is fresh for `seconds` seconds."""
        self._outcomes[name] = (outcome, time.monotonic() + seconds)
        self._outcomes.move_to_end(name)
        if len(self._outcomes) > self._capacity:
            self._outcomes.popitem(last=False)

    def fresh(self, name: str) -> str | None:
        """Return the number that a name means, None if that is not known or not fresh.

        Raises:
            UnknownVersionError, ModelUnusableError: if that is the outcome, and it is fresh.
        """
        outcome, until = self._outcomes.get(name, (None, 0.0))
        if outcome is None or time.monotonic() >= until:
            return None
        if isinstance(outcome, Exception):
            raise outcome.with_traceback(None)
        return outcome

    def stale(self, name: str) -> str | None:
        """Return the number that a name meant last, however old that is."""
        outcome, _ = self._outcomes.get(name, (None, 0.0))
        return outcome if isinstance(outcome, str) else None
