"""Compare two forms of a model, on the rows of a table and on difficult rows."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from training.kinds import NO_TEXT
from training.registering.estimators import Answers
from training.registering.messages import ColumnGiven


class Apart(Struct, frozen=True):
    """The differences in sentences, and the columns for which the model refuses unknown texts."""

    problems: tuple[str, ...] = ()
    refuses_unknown: tuple[int, ...] = ()


def disagreements(
    model: Answers, form: Answers, data: int, tolerance: float, columns: Sequence[ColumnGiven], rows: np.ndarray
) -> Apart:
    """Compare the answers of a model with those of another form of it.

    Args:
        model: The model's answers.
        form: The other form's answers to the same rows.
        data: The number of rows that are data; the difficult rows come after them.
        tolerance: The allowed difference of probabilities; for values, a share of their standard deviation.
        columns: The columns of the rows.
        rows: The rows in the form of the contract.
    """
    unknown = _unknown(columns, rows, data)
    refuses = tuple(index for index, which in unknown.items() if len(which) and not model.answered[which].any())
    left_out = {int(row) for index in refuses for row in unknown[index]}
    compared = np.array([row for row in range(len(rows)) if row not in left_out], dtype=np.int64)
    problems = []
    for name, which in (("rows of the table", compared[compared < data]), ("hard rows", compared[compared >= data])):
        if len(which) and (problem := _different(model, form, which, tolerance, data)):
            what, wrong = problem
            row = rows[wrong[0]]
            told = ", ".join(f"{column.name}={value!r}"[:60] for column, value in zip(columns, row, strict=True))
            gaps = _without_text(columns, rows[wrong])
            problems.append(f"{what} for {len(wrong)} of {len(which)} {name}, such as {told[:300]}{gaps}")
    return Apart(tuple(problems), refuses)


def _without_text(columns: Sequence[ColumnGiven], rows: np.ndarray) -> str:
    """Say which text is missing in all of the rows: serving gives a missing text as an empty one, and pandas as NaN."""
    gaps = [
        column.name
        for index, column in enumerate(columns)
        if column.kind == "category" and (rows[:, index] == NO_TEXT).all()
    ]
    if not gaps:
        return ""
    return (
        f" (all without a text in {', '.join(map(repr, gaps))}: put a SimpleImputer before the encoder of this column, "
        "so that the model fills the gap itself)"
    )


def _unknown(columns: Sequence[ColumnGiven], rows: np.ndarray, data: int) -> dict[int, np.ndarray]:
    """Return, for each column of text, the difficult rows with a text that the data does not have."""
    found = {}
    for index, column in enumerate(columns):
        if column.kind == "category":
            known = set(rows[:data, index])
            found[index] = np.array([row for row in range(data, len(rows)) if rows[row, index] not in known], dtype=int)
    return found


def _different(
    model: Answers, form: Answers, which: np.ndarray, tolerance: float, data: int
) -> tuple[str, np.ndarray] | None:
    """Return the difference in words, and the rows that differ; None if none does."""
    answered, answered_too = model.answered[which], form.answered[which]
    if (answered != answered_too).any():
        wrong = which[answered != answered_too]
        what = "answers where the model refuses" if answered_too[answered != answered_too][0] else "has no answer"
        return what, wrong
    which = which[answered]
    if model.codes is None or form.codes is None:
        scale = float(np.nanstd(model.values[:data])) or 1.0  # type: ignore[index]
        distance = np.abs(model.values[which] - form.values[which])  # type: ignore[index]
        # Single precision has seven digits, whatever the spread.
        allowed = np.maximum(tolerance * scale, 1e-6 * np.abs(model.values[which]))  # type: ignore[index]
        wrong = which[distance > allowed]
        return ("predicts other values", wrong) if len(wrong) else None
    differ = model.codes[which] != form.codes[which]
    if model.probabilities is not None and form.probabilities is not None:
        distance = np.abs(model.probabilities[which] - form.probabilities[which]).max(axis=1)
        wrong = which[distance > tolerance]
        if len(wrong):
            return "has other probabilities", wrong
        # In difficult rows, classes whose probabilities are equal up to rounding have no order.
        top = np.sort(model.probabilities[which], axis=1)
        differ &= (top[:, -1] - top[:, -2] > 2 * tolerance) | (which < data)
    wrong = which[differ]
    return ("names another class", wrong) if len(wrong) else None
