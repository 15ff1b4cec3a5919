"""Turn a run of calls over gRPC into the text of docs/benchmarks.md."""

from collections.abc import Iterator
from statistics import median

from bench.peers.calls import PLANS
from bench.peers.loads import BATCH_ROWS
from bench.peers.report import failures, footprint, rate_table, ratio_table
from bench.peers.results import ModelRun, Run, ratios
from bench.peers.subjects import OURS
from bench.report import spread, table

_LOADS = tuple(plan.key for plan in PLANS)
_HEADS = ("1", "16", "64", "batches, 16")
_WANTED = 4.0


def text(run: Run) -> str:
    """Return all tables of a run, with one line for each aim."""
    head = f"""Measured {run.date} with `make bench-peers`: {run.machine}
{run.rounds} interleaved rounds of {run.seconds:g} s a load; medians, in brackets the lowest and highest round."""
    return "\n" + "\n\n".join([head, *[part for model in run.models for part in _model(model)]]) + "\n\n"


def _model(run: ModelRun) -> Iterator[str]:
    shown = [subject for subject in run.subjects if "" not in subject.failures]
    yield f"""Calls/s per core, as fast as answers come, logistic regression, tensors as bytes: single rows over
1, 16 and 64 connections, and batches of {BATCH_ROWS:,} rows over 16."""
    yield rate_table(shown, _HEADS, _LOADS)
    yield "The same as ratios: this project over the other, within a round."
    yield ratio_table(run, shown, _HEADS, _LOADS)
    yield "Footprint: resident memory of all its processes, the time until it is ready, and its environment on disk."
    yield footprint(shown)
    yield from failures(run.subjects)
    yield "The aims, in calls/s per core over 64 connections:"
    yield table(["aim", "wanted", "seen", ""], list(_aims(run)), left=1)


def _aims(run: ModelRun) -> Iterator[list[str]]:
    ours = run.subject(OURS)
    for other in run.subjects:
        if ours and other is not ours and (seen := ratios(ours, other, "grpc-row/64")):
            met = "met" if median(seen) >= _WANTED else "**missed**"
            yield [f"times {other.name}", f"at least {_WANTED:g}", spread(seen, 2), met]
