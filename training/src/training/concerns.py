"""Columns that a model can learn from but perhaps should not, each with a sentence that says why."""

import re
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from msgspec import Struct

from training.kinds import NO_TEXT, Column, numeric
from training.misread import about_spaces, about_texts
from training.settings import Label

# The name that pandas gives an index that was written to a CSV file and read back.
_WRITTEN_INDEX = re.compile(r"Unnamed: \d+")
_FEWEST_IDENTIFIERS = 50
_NEARLY_CONSTANT = 0.995
_FEWEST_FOR_NEARLY = 200
_ALMOST_ALL = 0.95
_SAMPLE = 1000
_LARGEST_EXACT = 2**24


class Concern(Struct, frozen=True):
    """A remark about a column that people should read before they trust a model of it."""

    column: str
    sentence: str


def find_concerns(
    features: Sequence[Column],
    rows: np.ndarray,
    truth: np.ndarray,
    classes: Sequence[Label],
    *,
    target: str,
    told: Collection[str] = (),
) -> tuple[Concern, ...]:
    """Find the concerns about all feature columns, and about the labels.

    Args:
        features: The columns, in the order of `rows`' columns.
        rows: Shape [rows, features], as in `Dataset`.
        truth: The target, shape [rows].
        classes: The labels, empty for regression.
        target: The target's name.
        told: The names of columns that settings say are text.
    """
    codes = np.searchsorted(np.asarray(classes), truth) if classes else None
    found = []
    for index, column in enumerate(features):
        sentence = _about(column, rows, index, truth, codes, len(classes), told=column.name in told)
        if sentence:
            found.append(Concern(column.name, f"column {column.name!r} {sentence}"))
    if sentence := about_spaces([label for label in classes if isinstance(label, str)]):
        found.append(Concern(target, f"column {target!r} (the target) {sentence}"))
    return tuple(found)


def _about(
    column: Column,
    rows: np.ndarray,
    index: int,
    truth: np.ndarray,
    codes: np.ndarray | None,
    classes: int,
    *,
    told: bool,
) -> str | None:
    if column.is_text:
        # Each text becomes a number.
        values, _ = pd.factorize(rows[:, index])
        present = rows[:, index] != NO_TEXT
    else:
        values = numeric(rows, index)
        present = ~np.isnan(values)
    gaps = not present.all()
    if gaps:
        values, truth = values[present], truth[present]
        codes = codes[present] if codes is not None else None
    if (values == values[0]).all():
        # Whether the value is missing may still be informative.
        return None if gaps else "has the same value in every row, so a model cannot learn from it."
    if not gaps and _is_copy(values.astype(np.float64), truth, codes, classes, number=not column.is_text):
        return "repeats the target: will it be known when the model predicts? If not, leave it out."
    if column.is_text:
        misread = about_spaces(column.categories) if told else about_texts(column.categories)
        sentence = misread or _about_names(values)
    else:
        sentence = _about_numbers(column, values)
    return sentence or _nearly_constant(values)


def _about_names(codes: np.ndarray) -> str | None:
    if len(codes) >= _FEWEST_IDENTIFIERS and len(np.unique(codes)) >= _ALMOST_ALL * len(codes):
        return (
            "has a different text in nearly every row, like a name or an identifier, so it says nothing about new "
            "rows. Leave it out."
        )
    return None


def _about_numbers(column: Column, values: np.ndarray) -> str | None:
    whole = bool((values == np.floor(values)).all())
    if _WRITTEN_INDEX.fullmatch(column.name) or (whole and _counts(values)):
        return "counts the rows: it is a row number, not a property. Leave it out (pandas: index=False)."
    return _about_whole(values) if whole and column.kind != "datetime" else None


def _nearly_constant(values: np.ndarray) -> str | None:
    if len(values) < _FEWEST_FOR_NEARLY:
        return None
    # A value that nearly all rows have is also the median.
    share = float((values == np.median(values)).mean())
    if share < _NEARLY_CONSTANT:
        return None
    return f"has the same value in {share:.1%} of the rows, so a model can hardly learn from it."


def _counts(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps == 1).all() or (steps == -1).all())


def _about_whole(values: np.ndarray) -> str | None:
    if not _exact_when_centred(values):
        return (
            "holds whole numbers that float32 cannot tell apart. If they are identifiers, leave the column out; "
            "otherwise split it into columns of smaller numbers."
        )
    if len(values) >= _FEWEST_IDENTIFIERS and len(np.unique(values)) == len(values):
        return "has a different whole number in every row, like an identifier. If it is one, leave it out."
    return None


def _exact_when_centred(values: np.ndarray) -> bool:
    centred = values - np.floor(np.median(values))
    if np.abs(centred).max() <= _LARGEST_EXACT:
        return True
    return bool((centred.astype(np.float32) == centred).all())


def _is_copy(values: np.ndarray, truth: np.ndarray, codes: np.ndarray | None, classes: int, *, number: bool) -> bool:
    if codes is None:
        # The codes of texts have no order, so a target cannot follow it.
        return number and _is_linear_copy(values, truth)
    # The first rows are enough to exclude most columns.
    return (
        all(
            _one_to_one(values[:rows], codes[:rows], classes)
            for rows in dict.fromkeys((min(_SAMPLE, len(codes)), len(codes)))
        )
        and len(np.unique(values)) == classes
    )


def _one_to_one(values: np.ndarray, codes: np.ndarray, classes: int) -> bool:
    levels, positions = np.unique(values, return_inverse=True)
    if len(levels) > classes:
        return False
    pairs = len(np.unique(positions * classes + codes))
    return pairs == len(levels) == len(np.unique(codes))


def _is_linear_copy(values: np.ndarray, truth: np.ndarray) -> bool:
    deviations, wanted = values - values.mean(), truth - truth.mean()
    scale = float(deviations @ deviations)
    if not scale or not np.isfinite(scale):
        return False
    rest = wanted - deviations * (float(deviations @ wanted) / scale)
    return float(np.abs(rest).max()) <= 1e-6 * float(np.abs(wanted).max())
