"""The aims of this project compared with the others, and whether a run meets them."""

from collections.abc import Iterator
from statistics import median

import msgspec

from bench.peers.loads import Plan, at_rates
from bench.peers.results import ModelRun, Run, SubjectRun, ratios
from bench.peers.subjects import OURS, OURS_WITHOUT_DRIFT, RAW_ASGI

_MANY = Plan("row", 64).key
_FOREST_TIMES = 60.0
_TIMES = {
    "mlserver": 8.0, "kserve": 8.0, "bentoml": 15.0, "bentoml-batchable": 15.0,
    "fastapi-numpy": 15.0, "fastapi-pandas": 15.0, "mlflow": 30.0,
}  # fmt: skip
"""The least ratio to a peer's requests/s per core, for single rows over 64 connections, logistic regression."""
_OF_RAW_ASGI = 0.9
_WITH_DRIFT = 0.95
_MEMORY = 0.5


class Aim(msgspec.Struct, frozen=True):
    """One aim."""

    model: str
    what: str
    wanted: str
    seen: str
    met: bool


def judge(run: Run) -> list[Aim]:
    """Return every aim that the run can judge. Servers that were not measured have no aims."""
    return [aim for model in run.models for aim in _of(model, run.rates)]


def _of(run: ModelRun, rates: list[int]) -> Iterator[Aim]:
    ours = run.subject(OURS)
    if ours is None:
        return
    for other in run.subjects:
        if other.key in _TIMES:
            times = _FOREST_TIMES if run.model == "random-forest" else _TIMES[other.key]
            yield from _rate(run.model, ours, other, f"requests/s per core, times {other.name}", times)
            yield from _memory(run.model, ours, other)
            for plan in at_rates(rates):
                yield from _latency(run.model, ours, other, plan)
    if (raw := run.subject(RAW_ASGI)) is not None:
        yield from _rate(run.model, ours, raw, f"requests/s per core, times {raw.name}", _OF_RAW_ASGI)
    if (without := run.subject(OURS_WITHOUT_DRIFT)) is not None:
        yield from _rate(run.model, ours, without, "requests/s per core, times itself with drift off", _WITH_DRIFT)


def _rate(model: str, ours: SubjectRun, other: SubjectRun, what: str, wanted: float) -> Iterator[Aim]:
    if seen := ratios(ours, other, _MANY):
        digits = 2 if wanted < 1 else 1
        spread = f"{median(seen):.{digits}f} ({min(seen):.{digits}f} to {max(seen):.{digits}f})"
        yield Aim(model, what, f"at least {wanted:g}", spread, median(seen) >= wanted)


def _memory(model: str, ours: SubjectRun, other: SubjectRun) -> Iterator[Aim]:
    own, theirs = ours.memory(), other.memory()
    if own is not None and theirs is not None:
        share = own / theirs
        yield Aim(model, f"resident memory, times {other.name}", f"under {_MEMORY:g}", f"{share:.3f}", share < _MEMORY)


def _latency(model: str, ours: SubjectRun, other: SubjectRun, plan: Plan) -> Iterator[Aim]:
    """Judge p99 at a rate that the other server holds in most rounds."""
    own, theirs = ours.p99_ms(plan.key), other.p99_ms(plan.key)
    if theirs is not None:
        seen = "cannot hold it" if own is None else f"{own:.2f} ms"
        met = own is not None and own < theirs
        yield Aim(model, f"p99 at {plan.rate:,}/s, next to {other.name}", f"under {theirs:.2f} ms", seen, met)
