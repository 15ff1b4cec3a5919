"""Examine a fitted model by its answers to a table. Only the confined process of `child` does this."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct
from msgspec.structs import replace

from modelformat.columns import Kind
from modelformat.mlmodel import Label, Labels
from training.labels import rule_of
from training.registering.agreement import Apart, disagreements
from training.registering.conversion import NoOnnxError, to_graph
from training.registering.errors import UnfitError
from training.registering.estimators import (
    Answers,
    answers,
    answers_one_by_one,
    by_position,
    classes_of,
    joined,
    names_of,
    task_of,
    width_of,
)
from training.registering.graphs import GraphModel
from training.registering.loading import load, untrusted_types
from training.registering.messages import (
    ANSWERS_FILE,
    SKOPS_FILE,
    TABLE_FILE,
    TWIN_FILE,
    ColumnGiven,
    Outcome,
    Request,
)
from training.registering.scoring import GraphScores
from training.registering.table import contract_rows

_MOST_NAMED = 10


def examine(request: Request, folder: Path) -> Outcome:
    """Open the model, get its answers, and find a form that serving can run.

    Raises:
        Exception: Any other exception of the model.
    """
    try:
        model = load(request)
        task = task_of(model)
        classes = classes_of(model) if task == "classification" else ()
        places = _places(model, request.columns)
    except UnfitError as error:
        return Outcome(problems=(str(error),))
    outcome = Outcome(kind=type(model).__name__, task=task, classes=classes, columns=places)
    columns = [request.columns[place] for place in places]
    frame = pd.read_parquet(folder / TABLE_FILE)[[column.name for column in columns]]
    rows = contract_rows(frame, columns)
    given = frame if names_of(model) else rows
    try:
        found = answers(model, given[: request.rows], classes)
    except UnfitError as error:
        return replace(outcome, problems=(str(error),))
    except Exception as error:  # noqa: BLE001  (a model may refuse rows by any exception)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return replace(outcome, problems=(f"it cannot predict the rows of the table ({reason})",))
    hard = answers_one_by_one(model, given[request.rows :], classes)
    labels = _labels(model, found, classes)
    every = joined([found, hard])
    _write(folder / ANSWERS_FILE, every)
    outcome = replace(outcome, labels=labels)
    return _with_form(model, outcome, _Asked(request, folder, columns, rows, every))


def _places(model: Any, columns: Sequence[ColumnGiven]) -> tuple[int, ...]:
    """Return the positions of the model's columns in the table, in the model's order.

    Raises:
        UnfitError: Columns are missing, or the number of columns does not fit the model.
    """
    names, width = names_of(model), width_of(model)
    table = [column.name for column in columns]
    if names:
        missing = [name for name in names if name not in table]
        if missing:
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            raise UnfitError(
                f"it was fitted on columns that the table lacks: {', '.join(map(repr, missing[:_MOST_NAMED]))}{more}; "
                f"the table has {', '.join(map(repr, table[:_MOST_NAMED]))}"
            )
        return tuple(table.index(name) for name in names)
    if width is not None and width != len(table):
        raise UnfitError(
            f"it takes {width} columns without names, but the table has {len(table)} besides the target: "
            f"{', '.join(map(repr, table[:_MOST_NAMED]))}; leave the others out (columns: {{NAME: {{drop: true}}}})"
        )
    return tuple(range(len(table)))


def _labels(model: Any, found: Answers, classes: Sequence[Label]) -> Labels:
    if not classes:
        return "largest"
    assert found.codes is not None  # noqa: S101  (a classifier's answers have codes)
    return rule_of(model, found.probabilities, found.codes)


class _Asked(Struct, frozen=True, eq=False):
    """The rows that the model was given, and its answers: data, then difficult rows."""

    request: Request
    folder: Path
    columns: Sequence[ColumnGiven]
    rows: np.ndarray
    answers: Answers

    def apart(self, form: Answers) -> Apart:
        request = self.request
        return disagreements(self.answers, form, request.rows, request.tolerance, self.columns, self.rows)


def _with_form(model: Any, outcome: Outcome, asked: _Asked) -> Outcome:
    """Return the outcome with the first form that gives the model's answers, or with the reasons why there is none."""
    kinds: list[Kind] = [column.kind for column in asked.columns]
    reasons = []
    for double in (False, True):
        precision = f"its ONNX form in {'double' if double else 'single'} precision"
        try:
            graph = to_graph(model, kinds, outcome.classes, outcome.labels, double=double)
            found = GraphScores(graph, outcome.classes, outcome.labels).answers(asked.rows)
        except NoOnnxError as error:
            reasons.append(f"it has no ONNX form ({error})")
            break
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors have no common base class)
            reasons.append(f"{precision} cannot be run ({' '.join(str(error).split())[:200]})")
            continue
        apart = asked.apart(found)
        if not apart.problems:
            (asked.folder / TWIN_FILE).write_bytes(graph)
            return replace(outcome, form="onnx", refuses_unknown=apart.refuses_unknown)
        reasons.append(f"{precision} {apart.problems[0]}")
    if isinstance(model, GraphModel):
        return replace(outcome, problems=tuple(reasons))
    return _as_skops(model, outcome, asked, "; ".join(reasons))


def _as_skops(model: Any, outcome: Outcome, asked: _Asked, why: str) -> Outcome:
    import skops.io  # noqa: PLC0415  (its import takes a second, and most models do not need it)

    file, data = asked.folder / SKOPS_FILE, asked.request.rows
    try:
        skops.io.dump(by_position(model), file)
        again = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
        first = answers(again, asked.rows[:data], outcome.classes)
        hard = answers_one_by_one(again, asked.rows[data:], outcome.classes)
    except Exception as error:  # noqa: BLE001  (skops and estimators may raise anything)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return replace(outcome, problems=(f"{why}; and scikit-learn cannot run it on plain arrays ({reason})",))
    apart = asked.apart(joined([first, hard]))
    if apart.problems:
        return replace(outcome, problems=(f"{why}; and on plain arrays it {apart.problems[0]}",))
    return replace(
        outcome,
        form="skops",
        untrusted=tuple(untrusted_types(file)),
        refuses_unknown=apart.refuses_unknown,
        notes=(f"{why}, so scikit-learn runs it",),
    )


def _write(path: Path, every: Answers) -> None:
    arrays = {"codes": every.codes, "values": every.values, "probabilities": every.probabilities}
    np.savez(path, allow_pickle=False, **{name: array for name, array in arrays.items() if array is not None})
