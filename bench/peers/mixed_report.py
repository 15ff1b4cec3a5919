"""Formats a run of the mixed table for docs/benchmarks."""

from collections.abc import Iterator
from statistics import median

from bench.peers.loads import Plan
from bench.peers.mixed import INVOCATIONS_ROW, NUMBERS_ROW, OURS_NUMBERS, PLANS, V2_ROW
from bench.peers.report import one_table
from bench.peers.results import ModelRun, ratios
from bench.peers.subjects import OURS
from bench.report import spread

_HEADS = ("1", "16", "64", "V2, 64", "/invocations, 64")
_LOADS = tuple(plan.key for plan in PLANS)
_ROW = Plan("row", 64).key
_AIMS = (
    (OURS_NUMBERS, NUMBERS_ROW, 0.6, "times this project's own rate for the numbers alone"),
    ("fastapi-pandas", _ROW, 30.0, "times {}, each in its own JSON"),
    ("mlserver", V2_ROW, 30.0, "times {}, both asked by V2"),
    ("mlflow", INVOCATIONS_ROW, 40.0, "times {} at /invocations"),
)
"""The server, the load, the least ratio of requests/s per core over 64 connections, and its name in the table."""


def _aims(run: ModelRun) -> Iterator[list[str]]:
    ours = run.subject(OURS)
    for key, load, wanted, what in _AIMS:
        other = run.subject(key)
        if ours and other and (seen := ratios(ours, other, load)):
            met = "met" if median(seen) >= wanted else "**missed**"
            yield [what.format(other.name), f"at least {wanted:g}", spread(seen, 2), met]


_WHAT = """Requests/s per core, single rows as fast as answers come. The first three columns are each server's own JSON
over 1, 16 and 64 connections. The others are the Open Inference Protocol with a tensor for each column, and the
path of MLflow's server."""
text = one_table(_WHAT, _HEADS, _LOADS, "The aims, in requests/s per core over 64 connections:", _aims)
"""Return all tables of a run, with one line for each aim."""
