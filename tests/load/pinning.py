"""Keep a program to some of the processors."""

import os
from collections.abc import Callable


def pin_to(cpus: frozenset[int] | None) -> Callable[[], None] | None:
    """Return what a child process has to call before it becomes the program; None where there is nothing to do."""
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, cpus)
