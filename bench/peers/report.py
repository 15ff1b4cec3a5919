"""Formats a run for docs/benchmarks."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from bench.peers.aims import judge
from bench.peers.loads import BATCH_ROWS, RATE_CONNECTIONS, Plan, at_rates
from bench.peers.results import ModelRun, Run, SubjectRun, ratios
from bench.peers.subjects import OURS
from bench.report import spread, table

_TITLES = {"logistic-regression": "Logistic regression", "random-forest": "Random forest of 100 trees"}
_LOADS = tuple(plan.key for plan in (Plan("row", 1), Plan("row", 16), Plan("row", 64), Plan("batch", 16)))
_HEADS = ("1", "16", "64", "batches, 16")
_V2_PLANS = (
    Plan("v2-row", 64), Plan("binary-row", 64), Plan("v2-batch", 16), Plan("binary-batch", 16), Plan("arrow-batch", 16),
)  # fmt: skip
_V2 = tuple(plan.key for plan in _V2_PLANS)
_V2_HEADS = ("rows, JSON", "rows, binary", "batches, JSON", "batches, binary", "batches, Arrow")
_WHAT = f"""Requests/s per core, as fast as answers come, in each server's own JSON: single rows over 1, 16 and 64
connections, and batches of {BATCH_ROWS:,} rows over 16."""

_V2_WHAT = f"""The Open Inference Protocol: requests/s per core over 64 connections, batches of {BATCH_ROWS:,} over 16.
The last column is such a batch as an Arrow table."""

_AS_RATIOS = "The same as ratios: this project over the other, within a round."
_FOOTPRINT = "Footprint: resident memory of all its processes, the time until it is ready, and its environment on disk."
Judged = Callable[[ModelRun], Iterator[list[str]]]


def text(run: Run) -> str:
    """Return all tables of a run, with one line for each aim."""
    return "\n" + "\n\n".join([head(run), *[_model(model, run) for model in run.models], _aims(run)]) + "\n\n"


def head(run: Run) -> str:
    """Return the lines about when, where and how a run was measured."""
    return f"""Measured {run.date} with `make bench-peers`: {run.machine}
{run.rounds} interleaved rounds of {run.seconds:g} s a load; medians, in brackets the lowest and highest round."""


def _model(run: ModelRun, whole: Run) -> str:
    title = _TITLES[run.model]
    shown = [subject for subject in run.subjects if "" not in subject.failures]
    speakers = [subject for subject in shown if subject.samples.get(_V2[0])]
    parts = [
        f"## {title}",
        f"![{title}: requests a second, p99 and memory of each server]({run.model}.svg)",
        _WHAT,
        rate_table(shown, _HEADS, _LOADS),
        _AS_RATIOS,
        ratio_table(run, shown, _HEADS, _LOADS),
        f"Latency in ms, single rows: p50 / p99 over 64 connections, and at fixed rates over {RATE_CONNECTIONS}.",
        _latency(shown, whole.rates),
        _V2_WHAT,
        rate_table(speakers, _V2_HEADS, _V2),
        ratio_table(run, speakers, _V2_HEADS, _V2),
        _FOOTPRINT,
        footprint(shown),
        *failures(run.subjects),
    ]
    return "\n\n".join(parts)


def one_table(what: str, heads: Sequence[str], loads: Sequence[str], aims: str, judged: Judged) -> Callable[[Run], str]:
    """Return a function that formats a run whose loads fit one table.

    Args:
        what: the sentence before the rates.
        heads: the heads of the loads' columns.
        loads: the loads.
        aims: the sentence before the aims.
        judged: returns a line for each aim: what, wanted, seen, whether it is met.
    """

    def parts(run: ModelRun) -> Iterator[str]:
        shown = [subject for subject in run.subjects if "" not in subject.failures]
        yield from (what, rate_table(shown, heads, loads))
        yield from (_AS_RATIOS, ratio_table(run, shown, heads, loads), _FOOTPRINT, footprint(shown))
        yield from failures(run.subjects)
        yield from (aims, table(["aim", "wanted", "seen", ""], list(judged(run)), left=1))

    def text_of(run: Run) -> str:
        return "\n" + "\n\n".join([head(run), *[part for model in run.models for part in parts(model)]]) + "\n\n"

    return text_of


def rate_table(subjects: Sequence[SubjectRun], heads: Sequence[str], loads: Sequence[str]) -> str:
    """Return requests/s per core, with a line for each server and a column for each load."""
    return table(["", *heads], [[s.name, *[_per_core(s, load) for load in loads]] for s in subjects])


def ratio_table(run: ModelRun, subjects: Sequence[SubjectRun], heads: Sequence[str], loads: Sequence[str]) -> str:
    """Return the ratios of this project's requests/s per core to those of each other server."""
    ours = run.subject(OURS)
    if ours is None:
        return "This project was not measured."
    others = [subject for subject in subjects if subject is not ours]
    return table(["this project over", *heads], [[s.name, *[_ratio(ours, s, load) for load in loads]] for s in others])


def _latency(subjects: Sequence[SubjectRun], rates: Sequence[int]) -> str:
    plans = at_rates(rates)
    heads = ["", "64 connections", *[f"{plan.rate:,}/s" for plan in plans]]
    loads = [Plan("row", 64).key, *[plan.key for plan in plans]]
    return table(heads, [[s.name, *[_quantiles(s, load) for load in loads]] for s in subjects])


def footprint(subjects: Sequence[SubjectRun]) -> str:
    """Return the memory, start time and environment size of each server."""
    lines = [
        [s.name, s.version, spread(s.memory_mb) if s.memory_mb else "-", f"{s.ready_seconds:.1f}", f"{s.megabytes:.0f}"]
        for s in subjects
    ]
    return table(["", "version", "resident MB", "ready after s", "environment MB"], lines, left=2)


def failures(subjects: Sequence[SubjectRun]) -> list[str]:
    """Return a table of what failed, with its title, or an empty list."""
    lines = [
        [subject.name, load or "start", _in_a_cell(reason)]
        for subject in subjects
        for load, reason in subject.failures.items()
    ]
    return ["What failed:", table(["", "load", "reason"], lines, left=3)] if lines else []


def _in_a_cell(reason: str) -> str:
    """Return the first and the last line. Between them is the rest of a server's log."""
    lines = reason.splitlines() or ["it gave none"]
    return " ".join(dict.fromkeys([lines[0], lines[-1]])).replace("|", "\\|")[:300]


def _aims(run: Run) -> str:
    lines = [
        [_TITLES[aim.model], aim.what, aim.wanted, aim.seen, "met" if aim.met else "**missed**"] for aim in judge(run)
    ]
    missed = sum(line[-1] != "met" for line in lines)
    head = f"## Aims\n\n{len(lines) - missed} of {len(lines)} are met. Rates are those over 64 connections."
    return f"{head}\n\n{table(['model', 'what', 'wanted', 'seen', ''], lines, left=2)}"


def _per_core(subject: SubjectRun, load: str) -> str:
    value = subject.per_core(load)
    return _missing(subject, load) if value is None else f"{value:,.0f}"


def _quantiles(subject: SubjectRun, load: str) -> str:
    found = [sample.measured for sample in subject.held(load)]
    if not found:
        return _missing(subject, load)
    return f"{median([m.p50_ms for m in found]):.2f} / {median([m.p99_ms for m in found]):.2f}"


def _ratio(ours: SubjectRun, other: SubjectRun, load: str) -> str:
    found = ratios(ours, other, load)
    return spread(found, 1 if median(found) >= 5 else 2) if found else "-"


def _missing(subject: SubjectRun, load: str) -> str:
    if load in subject.failures:
        return "failed"
    return "cannot hold it" if subject.samples.get(load) else "-"
