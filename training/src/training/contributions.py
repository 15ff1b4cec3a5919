"""How far each column moves the answers for held-out rows: serving's `/explain`, averaged over many rows."""

from collections.abc import Sequence

import numpy as np

from modelformat.background import background_of
from modelformat.baseline import Baseline
from modelformat.shapley import Explainer
from training.kinds import Column
from training.labels import places, shares
from training.onnx_twin import Twin
from training.settings import Label

# Enough for a mean, and no slower than the importance by shuffling.
_ROWS = 100
_MOST_COLUMNS = 200
_BACKGROUND = 16
_EVALUATIONS = 512


def mean_contributions(
    twin: Twin, columns: Sequence[Column], classes: Sequence[Label], baseline: Baseline, rows: np.ndarray
) -> list[tuple[str, float]]:
    """Return the mean absolute contribution of each column, the largest first; empty for very many columns.

    A contribution is to the probability of the answered label (1 if there are no probabilities), or to the predicted
    number.

    Args:
        twin: The model.
        columns: The model's columns.
        classes: The labels, empty for regression.
        baseline: The distributions of the columns in training.
        rows: Shape [rows, columns]; at most 100 of them are used, evenly spread.
    """
    if len(columns) > _MOST_COLUMNS or not len(rows):
        return []

    def answers(asked: np.ndarray) -> np.ndarray:
        scores = twin.scores(asked)
        return shares(scores, len(classes)) if classes else scores

    background = background_of(baseline.features, [column.kind for column in columns], _BACKGROUND)
    explainer = Explainer(answers, background.astype(rows.dtype), _EVALUATIONS)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _ROWS).round().astype(np.intp))]
    named = places(twin.scores(chosen), len(classes)) if classes else np.zeros(len(chosen), dtype=np.intp)
    total = np.zeros(len(columns))
    for row, place in zip(chosen, named, strict=True):
        total += np.abs(explainer.explain(row).contributions[:, place])
    means = (total / len(chosen)).tolist()
    found = [(column.name, float(mean)) for column, mean in zip(columns, means, strict=True)]
    return sorted(found, key=lambda pair: -pair[1])
