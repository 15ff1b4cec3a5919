"""Measure a running server: processor time, memory, and where the load generator may run meanwhile."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from bench import fortio
from embedded.processes import Server


class Sample(msgspec.Struct, frozen=True):
    """What one load saw, and what it cost the server."""

    measured: fortio.Measured
    per_core: float
    """Requests answered for each second of processor time that the server used, its child processes included."""


class Processors(msgspec.Struct, frozen=True):
    """The processors of the server measured and of the load generator; None where they cannot be kept apart."""

    server: frozenset[int] | None
    generator: frozenset[int] | None


def processors() -> Processors:
    """Give the server one processor and the load generator all others."""
    if not hasattr(os, "sched_getaffinity"):
        return Processors(None, None)
    mine = sorted(os.sched_getaffinity(0))
    return Processors(frozenset(mine[:1]), frozenset(mine[1:])) if len(mine) > 1 else Processors(None, None)


def sample(server: Server, program: Path, load: fortio.Load, cpus: frozenset[int] | None) -> Sample:
    """Send one load to a running server.

    Args:
        server: the server that the load's address belongs to.
        program: the fortio executable.
        load: what to send.
        cpus: the processors that fortio may use; None for all.

    Raises:
        LoadFailedError: fortio failed, or any answer had another status than 200.
    """
    return costing(server, lambda: fortio.run(program, load, cpus))


def costing(server: Server, send: Callable[[], fortio.Measured]) -> Sample:
    """Have a load sent to a running server, and tell what that cost it."""
    before = _cpu_seconds(server)
    measured = send()
    # The clock of processor time ticks every 10 ms, so that a load of a few requests may seem to have cost nothing.
    used = max(_cpu_seconds(server) - before, 0.01)
    return Sample(measured, measured.answered / used)


def resident_mb(server: Server) -> float:
    """Return the resident memory of the server's processes together, in megabytes; shared pages count in each."""
    return _sum(server, lambda process: process.memory_info().rss) / 1e6


def _cpu_seconds(server: Server) -> float:
    return _sum(server, lambda process: sum(process.cpu_times()[:2]))


def _sum(server: Server, read: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in server.family():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            total += read(process)
    return total
