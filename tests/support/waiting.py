"""Waiting for what happens in another thread or process."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds; AssertionError after so many seconds.

    It is checked often at first, and less often the longer it takes: most conditions are a question to a server.
    """
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < seconds, "gave up waiting"
        time.sleep(min(max(0.02, waited / 20), 0.5))
