"""What takes seconds to make and is only read or copied: one worker of a run makes it, and all take it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled, in this process or in another worker of the same run.

    Tests must leave it as it is. The next worker tries again where one fails half-way.

    Args:
        factory: Knows the folder of the run.
        name: What the folder is called, unique in the run.
        make: Fills the empty folder that it is given; what it raises is raised here.
    """
    run = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each worker has a folder of its own in that of the run.
        run = run.parent
    place, made = run / f"once-{name}", run / f"once-{name}.made"
    with (run / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            make(place)
            made.touch()
    return place
