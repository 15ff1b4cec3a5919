"""Runs ghz, the load generator for gRPC calls, and reads its report.

ghz (Apache-2.0, https://ghz.sh) keeps its connections open and sends messages that were encoded before.
"""

from pathlib import Path

import msgspec

from bench import program
from bench.fortio import Measured
from bench.program import LoadFailedError

_TIMEOUT_SECONDS = 30


class Calls(msgspec.Struct, frozen=True):
    """What to send: `body`, an encoded message, to a `method` of the server at `address`.

    There is always one call in progress on each of the `connections`.
    """

    address: str
    method: str
    descriptors: Path
    """A file of descriptors that has the method."""
    body: Path
    connections: int
    seconds: float


class _Quantile(msgspec.Struct):
    percentage: float
    latency: int
    """In nanoseconds."""


class _Result(msgspec.Struct):
    count: int
    total: int
    """In nanoseconds."""
    statuses: dict[str, int] = msgspec.field(name="statusCodeDistribution")
    errors: dict[str, int] = msgspec.field(name="errorDistribution", default_factory=dict)
    quantiles: list[_Quantile] | None = msgspec.field(name="latencyDistribution", default=None)


def run(ghz: Path, calls: Calls, cpus: frozenset[int] | None) -> Measured:
    """Send one load and return its result.

    Args:
        ghz: the executable.
        calls: what to send.
        cpus: the processors for ghz, so that it does not use the server's; None for all.

    Raises:
        LoadFailedError: ghz failed, or any call ended with an error.
    """
    limit = calls.seconds + 2 * _TIMEOUT_SECONDS
    return read(program.run([str(ghz), *arguments(calls)], cpus, against=calls.address, seconds=limit), calls)


def arguments(calls: Calls) -> list[str]:
    """Return ghz's arguments for a load, with a report that `read` can parse."""
    return [
        "--insecure", "--protoset", str(calls.descriptors), "--call", calls.method, "-B", str(calls.body),
        "-c", str(calls.connections), "--connections", str(calls.connections),
        "-z", f"{calls.seconds}s", "--duration-stop", "wait", "-t", f"{_TIMEOUT_SECONDS}s",
        "--format", "json", calls.address,
    ]  # fmt: skip


def read(printed: str, calls: Calls) -> Measured:
    """Parse ghz's report about a load.

    Raises:
        LoadFailedError: any call ended with an error.
    """
    result = msgspec.json.decode(printed, type=_Result)
    if set(result.statuses) != {"OK"}:
        said = "; ".join(list(result.errors)[:2])[:300]
        raise LoadFailedError(f"{calls.address} ended calls of {calls.method} with {result.statuses}: {said}")
    quantiles = {each.percentage: each.latency / 1e6 for each in result.quantiles or ()}
    return Measured(result.count, result.total / 1e9, p50_ms=quantiles[50], p99_ms=quantiles[99])
