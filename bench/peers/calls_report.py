"""Formats a run of calls over gRPC for docs/benchmarks."""

from collections.abc import Iterator
from statistics import median

from bench.peers.calls import PLANS
from bench.peers.loads import BATCH_ROWS
from bench.peers.report import one_table
from bench.peers.results import ModelRun, ratios
from bench.peers.subjects import OURS
from bench.report import spread

_LOADS = tuple(plan.key for plan in PLANS)
_HEADS = ("1", "16", "64", "batches, 16")
_WANTED = 4.0


def _aims(run: ModelRun) -> Iterator[list[str]]:
    ours = run.subject(OURS)
    for other in run.subjects:
        if ours and other is not ours and (seen := ratios(ours, other, "grpc-row/64")):
            met = "met" if median(seen) >= _WANTED else "**missed**"
            yield [f"times {other.name}", f"at least {_WANTED:g}", spread(seen, 2), met]


_WHAT = f"""Calls/s per core, as fast as answers come, logistic regression, tensors as bytes: single rows over
1, 16 and 64 connections, and batches of {BATCH_ROWS:,} rows over 16."""
text = one_table(_WHAT, _HEADS, _LOADS, "The aims, in calls/s per core over 64 connections:", _aims)
"""Return all tables of a run, with one line for each aim."""
