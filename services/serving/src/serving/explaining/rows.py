"""Explains the rows of a request: how much each column contributes to their answers."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from modelformat.background import background_of
from modelformat.baseline import Baseline
from modelformat.shapley import BATCH, Explained, Explainer
from serving.errors import FieldError, InvalidInputError
from serving.labels import places
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix
from serving.schemas import Contribution, Explanation, RowExplanation
from serving.warmup import rows_within
from serving.writing import predictions_of

# The longest time for one run of the model, so that the thread can be stopped and other requests get a turn.
_RUN_SECONDS = 0.02


class Explanations(msgspec.Struct, frozen=True):
    """The explained rows of a request. `exact` says whether all sets of columns were computed."""

    rows: list[RowExplanation]
    exact: bool


class _Runner:
    """Runs a model, and calls `check` before each run."""

    def __init__(self, model: LoadedModel, check: Callable[[], None]) -> None:
        self._model = model
        self._check = check
        self._classes = len(model.spec.classes)

    def __call__(self, rows: Matrix) -> Matrix:
        """Return probabilities [rows, classes], or predicted numbers [rows, 1]."""
        return self.of(self.run(rows))

    def of(self, result: Matrix) -> Matrix:
        """Return the part of a result that is explained."""
        return result[:, : self._classes] if self._classes else result.reshape(-1, 1)

    def run(self, rows: Matrix) -> Matrix:
        """Return the result of the runtime."""
        self._check()
        result = self._model.runtime.run(rows)
        if not np.isfinite(result).all():
            raise InvalidInputError(
                FieldError(
                    "body",
                    "the model has no finite answer for a row, or for a copy of it with some typical values, so the "
                    "row cannot be explained",
                )
            )
        return result


def explain(
    model: LoadedModel,
    baseline: Baseline,
    rows: Matrix,
    evaluations: int,
    every_label: bool,
    check: Callable[[], None],
) -> Explanations:
    """Explain the answers for rows of shape [rows, columns].

    Args:
        model: The model that gives the answers.
        baseline: The distribution of its training data.
        rows: The rows, as returned by its reader.
        evaluations: How many rows the model may compute to explain one row.
        every_label: Whether to explain each label, or only the answered one.
        check: Called before each run of the model; raises an error to stop the work.

    Raises:
        InvalidInputError: if the model has no finite answer.
    """
    columns = model.spec.columns
    background = background_of(baseline.features, [column.kind for column in columns]).astype(rows.dtype)
    runner = _Runner(model, check)
    batch = min(max(1, rows_within(_RUN_SECONDS, model.pace.first, model.pace.further)), BATCH)
    explainer = Explainer(runner, background, evaluations, batch=batch)
    names = [column.name for column in columns]
    found = []
    for row in rows:
        result = runner.run(row.reshape(1, -1))
        answer = predictions_of(result, model.spec)[0]
        chosen = _outputs(result, model, every_label=every_label)
        explained = explainer.explain(row)
        labels = model.spec.classes or (None,)
        parts = [_part(labels[place], place, explained, names) for place in chosen]
        found.append(RowExplanation(answer.prediction, answer.probability, parts))
    return Explanations(found, explainer.exact)


def _outputs(result: Matrix, model: LoadedModel, *, every_label: bool) -> list[int]:
    classes = len(model.spec.classes)
    if not classes:
        return [0]
    return list(range(classes)) if every_label else places(result, classes).tolist()


def _part(label: Any, place: int, explained: Explained, names: list[str]) -> Explanation:
    contributions = zip(names, explained.contributions[:, place].tolist(), strict=True)
    return Explanation(
        label,
        float(explained.base[place]),
        float(explained.value[place]),
        [Contribution(name, contribution) for name, contribution in contributions],
        float(explained.error[place]),
    )
