"""Wait for events in another thread or process."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds. Raise AssertionError after `seconds`.

    The interval between checks grows, because most conditions send a request to a server.
    """
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < seconds, "gave up waiting"
        time.sleep(min(max(0.02, waited / 20), 0.5))
