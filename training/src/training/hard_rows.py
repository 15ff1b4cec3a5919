"""Difficult rows: those that a pipeline and its ONNX form are most likely to read differently."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from training.kinds import NO_TEXT, numeric
from training.preparation import CENTRE, NUMBERS, PREPARE
from training.settings import Kind

# The number of rows that each odd value is tried in, and of thresholds that are tried for each column.
_BASES = 2
_THRESHOLDS = 12
# Texts that hardly any table has: composed, decomposed and wide letters, a space, a digit, names of nothing, and one of
# many letters.
_TEXTS = ("never seen", "\u00e9", "e\u0301", "\u5317\u4eac", "\U0001f427", " ", "0", "nan", "None", "x" * 1000)


def hard_rows(kinds: Sequence[tuple[Kind, bool]], rows: np.ndarray, pipeline: Pipeline | None = None) -> np.ndarray:
    """Return some of the rows, each with one column changed to a value that is likely to be misread.

    Args:
        kinds: What each column holds, and whether a value may be missing.
        rows: Rows as in `training.data.Dataset`.
        pipeline: The fitted pipeline, if its trees' thresholds may be used.

    Returns:
        Rows of the same columns and type, unchanged ones first.
    """
    bases = rows[np.linspace(0, len(rows) - 1, _BASES).astype(int)]
    numbers = [index for index, (kind, _) in enumerate(kinds) if kind != "category"]
    thresholds = _thresholds(pipeline, numbers) if pipeline is not None else {}
    made = []
    for index, (kind, optional) in enumerate(kinds):
        column = rows[:, index] if kind == "category" else numeric(rows, index)
        odd = _odd_texts(column) if kind == "category" else _odd_numbers(kind, column, thresholds.get(index, []))
        if optional:
            odd.append(NO_TEXT if kind == "category" else np.nan)
        for value in odd:
            changed = bases.copy()
            changed[:, index] = value
            made.append(changed)
    if any(optional for _, optional in kinds):
        nothing = bases.copy()
        for index, (kind, optional) in enumerate(kinds):
            if optional:
                nothing[:, index] = NO_TEXT if kind == "category" else np.nan
        made.append(nothing)
    return np.concatenate([bases, *made])


def _odd_texts(texts: np.ndarray) -> list[Any]:
    known = sorted(set(texts.tolist()) - {NO_TEXT})
    return [*_TEXTS, *(change for text in known[:3] for change in (text, text.upper(), f" {text}", f"{text} "))]


def _odd_numbers(kind: Kind, values: np.ndarray, thresholds: Sequence[float]) -> list[Any]:
    levels = np.unique(values[~np.isnan(values)])
    if not len(levels):
        return []
    if kind == "boolean":
        return [0.0, 1.0]
    odd = {float(levels[0]), float(levels[-1])}
    for threshold in thresholds:
        place = int(np.searchsorted(levels, threshold))
        odd |= {float(value) for value in levels[max(place - 1, 0) : place + 1]}
        # The float32 neighbours of a threshold, if the column's values are fine enough for them to matter.
        single = np.float32(threshold)
        if kind == "number" and float(np.spacing(single)) < 1e-3 * float(np.ptp(levels)):
            odd |= {float(np.nextafter(single, np.float32(end))) for end in (-np.inf, np.inf)} | {float(single)}
    return sorted(odd)


def _thresholds(pipeline: Pipeline, numbers: Sequence[int]) -> dict[int, list[float]]:
    """Return the thresholds of a pipeline's trees by column; none if it has no trees, or scales their input."""
    pairs = _splits(pipeline[-1])
    steps = dict(pipeline.named_steps)
    if PREPARE in steps:
        parts = steps[PREPARE].named_transformers_
        steps = dict(parts[NUMBERS].named_steps) if NUMBERS in parts else {}
    centres = steps[CENTRE].center_ if CENTRE in steps else np.zeros(len(numbers))
    found: dict[int, list[float]] = {}
    for place, threshold in pairs:
        if place < len(numbers) and len(own := found.setdefault(numbers[place], [])) < _THRESHOLDS:
            own.append(threshold + float(centres[place]))
    return found


def _splits(estimator: Any) -> list[tuple[int, float]]:
    pairs: list[tuple[int, float]] = []
    for tree in np.ravel(getattr(estimator, "estimators_", ())):
        if not hasattr(tree, "tree_"):
            continue
        inner = tree.tree_.feature >= 0
        pairs += zip(tree.tree_.feature[inner].tolist(), tree.tree_.threshold[inner].tolist(), strict=True)
    for trees in getattr(estimator, "_predictors", ()):
        for tree in trees:
            nodes = tree.nodes[tree.nodes["is_leaf"] == 0]
            pairs += zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True)
    return pairs
