"""A report as rows of tables, for people."""

from training.outcomes.figures import SMALL, Figure
from training.outcomes.refused import Reason
from training.outcomes.report import Report

# The meaning of each reason; docs/outcomes.md has the same words.
MEANINGS: dict[Reason, str] = {
    "unknown": "the log has no row of this request: not sampled, outside the days that were read, or a wrong id",
    "unknown_row": "the log has this request, but not this row of it",
    "no_id": "the truth names no request",
    "no_row": "the request may have several rows, and the truth does not say which",
    "bad_row": "the row number is not a whole number from 0",
    "empty": "the truth is empty",
    "type": "the truth has another type than the model's answers",
    "double": "the same truth again; it counts once",
    "contradiction": "several truths of one row differ; none counts",
    "asked_again": "the log has different rows or answers under one request id",
    "line": "a line of the log cannot be read",
    "file": "a file of the log is broken; the rows before the fault count",
}


def metric_rows(report: Report) -> list[list[str]]:
    """Return a row for each version and metric."""
    rows = []
    for version in report.versions:
        real = version.realised
        estimate = version.estimated
        names = dict.fromkeys([*(real.metrics if real else {}), *(["accuracy"] if estimate else [])])
        for name in names or ["(none)"]:
            figure = real.metrics.get(name) if real else None
            guess = estimate.accuracy.value if estimate and name == "accuracy" else None
            bound = version.gate.get(name)
            said = f"{bound.relation} {bound.value:g}" if bound else ""
            rows.append(
                [
                    version.title, name, _number(figure.value if figure else None), _interval(figure),
                    str(real.rows if real else 0), _number(guess), _number(version.held_out.get(name)),
                    f"{said}: BELOW" if name in version.below_gate else said,
                ]
            )  # fmt: skip
    return rows


def slice_rows(report: Report) -> list[list[str]]:
    """Return a row for each slice of the version that answered last."""
    current = report.current
    slices = current.realised.slices if current and current.realised else ()
    return [
        [
            f"{found.column} = {found.value}",
            str(found.rows),
            f"too small (fewer than {SMALL} rows)"
            if found.small
            else ", ".join(f"{name} {figure.value:.4g}" for name, figure in found.metrics.items()),
        ]
        for found in slices
    ]


def refused_rows(report: Report) -> list[list[str]]:
    """Return a row for each reason."""
    return [
        [reason, str(report.refused[reason]), meaning]
        for reason, meaning in MEANINGS.items()
        if reason in report.refused
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(figure: Figure | None) -> str:
    if figure is None or figure.lower is None or figure.upper is None:
        return ""
    return f"{figure.lower:.4g} to {figure.upper:.4g}"
