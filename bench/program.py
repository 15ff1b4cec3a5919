"""Runs a load generator on some of the processors."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path


class LoadFailedError(RuntimeError):
    """The load generator failed, or the server's answer is not one that the load expects."""


def run(command: Sequence[str], cpus: frozenset[int] | None, *, against: str, seconds: float, stdin: str = "") -> str:
    """Run a program to its end and return its output.

    Args:
        command: the program and its arguments.
        cpus: the processors for it, so that it does not use the server's; None for all.
        against: the address that it sends to, for error messages.
        seconds: how long it may take.
        stdin: its input.

    Raises:
        LoadFailedError: it failed, or took longer.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
            preexec_fn=_pin_to(cpus),
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailedError(f"{name} did not end against {against} after {seconds:.0f} s") from error
    if done.returncode != 0:
        raise LoadFailedError(f"{name} failed against {against}: {done.stderr[-500:]}")
    return done.stdout


def _pin_to(cpus: frozenset[int] | None) -> Callable[[], None] | None:
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, cpus)
