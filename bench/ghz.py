"""Run ghz, the load generator for gRPC calls, and read what it measured.

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

    So many calls are under way at once as there are `connections`, a call over each.
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
    """Send one load and return what was measured.

    Args:
        ghz: the executable.
        calls: what to send.
        cpus: the processors that ghz may use, so that it does not take the server's; None for all.

    Raises:
        LoadFailedError: ghz failed, or any call ended otherwise than well.
    """
    limit = calls.seconds + 2 * _TIMEOUT_SECONDS
    return read(program.run([str(ghz), *arguments(calls)], cpus, against=calls.address, seconds=limit), calls)


def arguments(calls: Calls) -> list[str]:
    """Return what to call ghz with, so that it sends a load and prints what `read` reads."""
    return [
        "--insecure", "--protoset", str(calls.descriptors), "--call", calls.method, "-B", str(calls.body),
        "-c", str(calls.connections), "--connections", str(calls.connections),
        "-z", f"{calls.seconds}s", "--duration-stop", "wait", "-t", f"{_TIMEOUT_SECONDS}s",
        "--format", "json", calls.address,
    ]  # fmt: skip


def read(printed: str, calls: Calls) -> Measured:
    """Read what ghz printed about a load.

    Raises:
        LoadFailedError: any call ended otherwise than well.
    """
    result = msgspec.json.decode(printed, type=_Result)
    if set(result.statuses) != {"OK"}:
        said = "; ".join(list(result.errors)[:2])[:300]
        raise LoadFailedError(f"{calls.address} ended calls of {calls.method} with {result.statuses}: {said}")
    quantiles = {each.percentage: each.latency / 1e6 for each in result.quantiles or ()}
    return Measured(result.count, result.total / 1e9, p50_ms=quantiles[50], p99_ms=quantiles[99])
