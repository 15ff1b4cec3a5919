"""Runs fortio, the load generator, and reads its report.

fortio (Apache-2.0, https://fortio.org) keeps its connections open, paces requests evenly at a fixed rate, and records
every duration in a histogram, here with a resolution of 50 microseconds.
"""

from pathlib import Path

import msgspec

from bench import program
from bench.program import LoadFailedError

_RESOLUTION_SECONDS = 0.00005
_TIMEOUT_SECONDS = 30
_BUFFER_KB = 1024  # fortio's default is too small for a batch and its answer


class Load(msgspec.Struct, frozen=True):
    """What to send: POST `body` to `url` over `connections`, `rate` requests/s (0: as fast as answers come)."""

    url: str
    body: Path
    connections: int
    seconds: float
    rate: int = 0
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """In addition to the media type, which is JSON unless this has a Content-Type."""


class Measured(msgspec.Struct, frozen=True):
    """The result of a load: the number of answers, its length in seconds, and latency quantiles in milliseconds."""

    answered: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return self.answered / self.seconds

    def holds(self, rate: int, connections: int) -> bool:
        """Return whether at least 95% of `rate` requests/s over `connections` were answered in time.

        fortio gives each connection its share of the requests, rounded down. Each connection starts at some time within
        the interval between two of its requests. So a load may end that much later although no answer was late.
        """
        stagger = connections / rate
        return self.answered >= 0.95 * rate * (self.seconds - stagger)


class _Percentile(msgspec.Struct, rename="pascal"):
    percentile: float
    value: float


class _Histogram(msgspec.Struct, rename="pascal"):
    count: int
    percentiles: list[_Percentile]


class _Result(msgspec.Struct):
    nanoseconds: int = msgspec.field(name="ActualDuration")
    durations: _Histogram = msgspec.field(name="DurationHistogram")
    statuses: dict[str, int] = msgspec.field(name="RetCodes")


def run(fortio: Path, load: Load, cpus: frozenset[int] | None) -> Measured:
    """Send one load and return its result.

    Args:
        fortio: the executable.
        load: what to send.
        cpus: the processors for fortio, so that it does not use the server's; None for all.

    Raises:
        LoadFailedError: fortio failed, or any answer had a status other than 200.
    """
    limit = load.seconds + 2 * _TIMEOUT_SECONDS
    printed = program.run([str(fortio), *arguments(load)], cpus, against=load.url, seconds=limit)
    return read(printed, load)


def arguments(load: Load) -> list[str]:
    """Return fortio's arguments for a load, with a report that `read` can parse."""
    headers = {"Content-Type": "application/json", **load.headers}
    return [
        "load", "-quiet", "-loglevel", "Error", "-json", "-",
        "-qps", str(load.rate), "-uniform", "-c", str(load.connections), "-t", f"{load.seconds}s",
        "-r", str(_RESOLUTION_SECONDS), "-p", "50,99", "-timeout", f"{_TIMEOUT_SECONDS}s",
        "-httpbufferkb", str(_BUFFER_KB), "-maxpayloadsizekb", str(_BUFFER_KB),
        "-content-type", headers.pop("Content-Type"), *(f"-H={name}: {value}" for name, value in headers.items()),
        "-payload-file", str(load.body), load.url,
    ]  # fmt: skip


def read(printed: str, load: Load) -> Measured:
    """Parse fortio's report about a load.

    Raises:
        LoadFailedError: any answer had a status other than 200.
    """
    result = msgspec.json.decode(printed, type=_Result)
    others = {status: count for status, count in result.statuses.items() if status != "200"}
    if others:
        raise LoadFailedError(f"{load.url} answered {others} in addition to {result.statuses.get('200', 0)} times 200")
    quantiles = {p.percentile: p.value * 1000 for p in result.durations.percentiles}
    return Measured(result.durations.count, result.nanoseconds / 1e9, p50_ms=quantiles[50], p99_ms=quantiles[99])
