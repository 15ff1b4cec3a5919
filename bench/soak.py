"""Send mixed requests to the serving API for a long time, and fail if its memory keeps growing.

Every minute has single rows and batches, in JSON, in the Open Inference Protocol, as binary tensors and as Arrow
tables, and rows that do not fit the model. The first quarter is the warm-up, in which allocators and caches fill.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec

from bench import fortio
from bench.measure import processors, resident_mb
from bench.own import Own, own_server
from bench.peers.loads import Kind
from embedded.processes import Server

_MINUTE = 60.0
_CONNECTIONS = 16
_REFUSED = 50
_GROWTH = 1.05
_SHARES: Mapping[Kind, float] = {
    "row": 1, "v2-row": 1, "binary-row": 1, "batch": 0.05, "binary-batch": 0.05, "arrow-batch": 0.05,
}  # fmt: skip
"""The kinds of requests, each with its share of the rate. A batch costs as much as many rows."""


class Minute(msgspec.Struct, frozen=True):
    """The result of one minute."""

    answered: int
    p99_ms: float
    """The worst of all kinds of single rows."""
    memory_mb: float


def main() -> int:
    """Run the soak, print a line every minute, and return 1 if memory grew by more than 5% after the first quarter."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.splitlines()[0])
    parser.add_argument("--fortio", type=Path, required=True, help="the load generator")
    parser.add_argument("--minutes", type=int, default=30, help="how many minutes (default 30)")
    parser.add_argument("--rate", type=int, default=200, help="single rows per second (default 200)")
    options = parser.parse_args()
    with own_server() as own:
        minutes = [_minute(own, options) for _ in range(options.minutes)]
    return _judge(minutes)


def _minute(own: Own, options: argparse.Namespace) -> Minute:
    begun, answered, p99 = time.monotonic(), 0, 0.0
    for kind, share in _SHARES.items():
        request = own.requests[kind]
        body = own.folder / f"{kind}.body"
        body.write_bytes(request.body)
        seconds = _MINUTE / (len(_SHARES) + 0.5)
        rate = max(1, int(options.rate * share))
        load = fortio.Load(own.server.url + request.path, body, _CONNECTIONS, seconds, rate, request.headers)
        measured = fortio.run(options.fortio, load, processors().generator)
        answered += measured.answered
        p99 = max(p99, measured.p99_ms if share == 1 else 0)
    _refused(own.server)
    time.sleep(max(0.0, _MINUTE - (time.monotonic() - begun)))
    minute = Minute(answered, p99, resident_mb(own.server))
    sys.stdout.write(f"{minute.answered:,} answered, p99 {minute.p99_ms:.2f} ms, {minute.memory_mb:.1f} MB\n")
    sys.stdout.flush()
    return minute


def _refused(server: Server) -> None:
    """Send rows that do not fit. Each is different, so that the server cannot cache anything about them."""
    with httpx.Client(base_url=server.url) as client:
        for number in range(_REFUSED):
            answer = client.post("/predict", json={"features": [number], f"field-{time.time_ns()}": 0})
            if answer.status_code not in {400, 422}:
                raise SystemExit(f"a row that does not fit was answered with {answer.status_code}")


def _judge(minutes: list[Minute]) -> int:
    warm = minutes[len(minutes) // 4].memory_mb
    growth = minutes[-1].memory_mb / warm
    answered = sum(minute.answered for minute in minutes)
    worst = max(minute.p99_ms for minute in minutes)
    sys.stdout.write(
        f"{answered:,} requests in {len(minutes)} minutes, none failed; p99 at most {worst:.2f} ms in any; memory "
        f"{warm:.1f} MB after a quarter, {minutes[-1].memory_mb:.1f} MB at the end ({growth - 1:+.1%})\n"
    )
    return int(growth > _GROWTH)


if __name__ == "__main__":
    sys.exit(main())
