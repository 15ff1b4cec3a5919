"""Run fortio, the load generator, and read what it measured.

fortio (Apache-2.0, https://fortio.org) keeps its connections open, paces requests evenly at a fixed rate, and records
every duration in a histogram, here with a resolution of 50 microseconds.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

_RESOLUTION_SECONDS = 0.00005


class LoadFailedError(RuntimeError):
    """The load generator could not run, or the server answered something else than 200."""


class Load(msgspec.Struct, frozen=True):
    """What to send: POST `body` to `url` over `connections`, `rate` requests/s (0: as fast as answers come)."""

    url: str
    body: Path
    connections: int
    seconds: float
    rate: int = 0


class Measured(msgspec.Struct, frozen=True):
    """What came back: requests/s that were answered, and latency quantiles in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


class _Percentile(msgspec.Struct, rename="pascal"):
    percentile: float
    value: float


class _Histogram(msgspec.Struct, rename="pascal"):
    count: int
    percentiles: list[_Percentile]


class _Result(msgspec.Struct):
    actual_rate: float = msgspec.field(name="ActualQPS")
    durations: _Histogram = msgspec.field(name="DurationHistogram")
    statuses: dict[str, int] = msgspec.field(name="RetCodes")


def run(program: Path, load: Load, cpus: frozenset[int] | None) -> Measured:
    """Send one load and return what was measured.

    Args:
        program: the fortio executable.
        load: what to send.
        cpus: the processors that fortio may use, so that it does not take the server's; None for all.

    Raises:
        LoadFailedError: fortio failed, or any answer had another status than 200.
    """
    command = [
        str(program), "load", "-quiet", "-loglevel", "Error", "-json", "-",
        "-qps", str(load.rate), "-uniform", "-c", str(load.connections), "-t", f"{load.seconds}s",
        "-r", str(_RESOLUTION_SECONDS), "-p", "50,99", "-content-type", "application/json",
        "-payload-file", str(load.body), load.url,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, check=False, timeout=load.seconds + 60, preexec_fn=_pin_to(cpus)
    )
    if done.returncode != 0:
        raise LoadFailedError(f"fortio failed against {load.url}: {done.stderr.decode(errors='replace')[-500:]}")
    result = msgspec.json.decode(done.stdout, type=_Result)
    others = {status: count for status, count in result.statuses.items() if status != "200"}
    if others:
        raise LoadFailedError(f"{load.url} answered {others} beside {result.statuses.get('200', 0)} times 200")
    quantiles = {p.percentile: p.value * 1000 for p in result.durations.percentiles}
    return Measured(rate=result.actual_rate, p50_ms=quantiles[50], p99_ms=quantiles[99])


def _pin_to(cpus: frozenset[int] | None) -> Callable[[], None] | None:
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, cpus)
