"""Measures a running server: its CPU time and memory, and which processors the load generator may use meanwhile."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from bench import fortio
from embedded.processes import Server


class Sample(msgspec.Struct, frozen=True):
    """The result of one load, and how much it cost the server."""

    measured: fortio.Measured
    per_core: float
    """Answered requests per second of CPU time of the server and its child processes."""


class Processors(msgspec.Struct, frozen=True):
    """The processors of the measured server and of the load generator. None if they cannot be separated."""

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
        server: the server at the load's address.
        program: the fortio executable.
        load: what to send.
        cpus: the processors that fortio may use; None for all.

    Raises:
        LoadFailedError: fortio failed, or any answer had a status other than 200.
    """
    return costing(server, lambda: fortio.run(program, load, cpus))


def costing(server: Server, send: Callable[[], fortio.Measured]) -> Sample:
    """Call `send`, which sends a load to a running server, and measure its cost for the server."""
    before = _cpu_seconds(server)
    measured = send()
    # CPU time is counted in steps of 10 ms, so a load of a few requests may seem to cost nothing.
    used = max(_cpu_seconds(server) - before, 0.01)
    return Sample(measured, measured.answered / used)


def resident_mb(server: Server) -> float:
    """Return the total resident memory of the server's processes in megabytes. Shared pages count in each process."""
    return _sum(server, lambda process: process.memory_info().rss) / 1e6


def _cpu_seconds(server: Server) -> float:
    return _sum(server, lambda process: sum(process.cpu_times()[:2]))


def _sum(server: Server, read: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in server.family():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            total += read(process)
    return total
