"""Data that takes seconds to make and is only read or copied: one worker makes it for all workers of a run."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled, in this process or in another worker of the same run.

    Tests must not change it. If `make` fails in one worker, the next worker calls it again.

    Args:
        factory: Knows the folder of the run.
        name: Name of the folder, unique in the run.
        make: Fills the empty folder that it gets. Its exceptions are passed on.
    """
    run = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each worker has a separate folder inside that of the run.
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
