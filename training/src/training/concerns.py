"""Columns that can be learnt from and should perhaps not be, each with a sentence that says why."""

import re
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from training.settings import Label

# Where an index ends up that was written to a CSV file and read back.
_WRITTEN_INDEX = re.compile(r"Unnamed: \d+")
_FEWEST_IDENTIFIERS = 50
_NEARLY_CONSTANT = 0.995
_FEWEST_FOR_NEARLY = 200
_SAMPLE = 1000
_LARGEST_EXACT = 2**24


class Concern(Struct, frozen=True):
    """What should be known of a column before a model of it is trusted."""

    column: str
    sentence: str


def find_concerns(
    features: Sequence[str], rows: np.ndarray, truth: np.ndarray, classes: Sequence[Label]
) -> tuple[Concern, ...]:
    """Look at every feature column.

    Args:
        features: Column names in the order of `rows`' columns.
        rows: float64, shape [rows, features].
        truth: The target, shape [rows].
        classes: The labels, empty for regression.
    """
    codes = np.searchsorted(np.asarray(classes), truth) if classes else None
    found = []
    for index, name in enumerate(features):
        values = np.ascontiguousarray(rows[:, index])
        sentence = _about(name, values, truth, codes, len(classes))
        if sentence:
            found.append(Concern(name, f"column {name!r} {sentence}"))
    return tuple(found)


def _about(name: str, values: np.ndarray, truth: np.ndarray, codes: np.ndarray | None, classes: int) -> str | None:
    lowest, highest = values.min(), values.max()
    if lowest == highest:
        return "has the same value in every row; nothing can be learnt from it."
    if _is_copy(values, truth, codes, classes):
        return "says the same as the target: is it known when the model is asked? Leave it out if not."
    whole = bool((values == np.floor(values)).all())
    if _WRITTEN_INDEX.fullmatch(name) or (whole and _counts(values)):
        return "counts the rows: it says where a row stands, not what it is. Leave it out (pandas: index=False)."
    if whole and (sentence := _about_whole(values)):
        return sentence
    if len(values) >= _FEWEST_FOR_NEARLY and (values == np.median(values)).mean() >= _NEARLY_CONSTANT:
        share = (values == np.median(values)).mean()
        return f"has the same value in {share:.1%} of the rows; hardly anything can be learnt from it."
    return None


def _counts(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps == 1).all() or (steps == -1).all())


def _about_whole(values: np.ndarray) -> str | None:
    if not _exact_when_centred(values):
        return (
            "holds whole numbers too far apart for float32, so that neighbours look alike to the model. "
            "If they are identifiers, leave the column out; else split it into columns of smaller numbers."
        )
    if len(values) >= _FEWEST_IDENTIFIERS and len(np.unique(values)) == len(values):
        return "has another whole number in every row, as identifiers have. Leave it out if it is one."
    return None


def _exact_when_centred(values: np.ndarray) -> bool:
    centred = values - np.floor(np.median(values))
    if np.abs(centred).max() <= _LARGEST_EXACT:
        return True
    return bool((centred.astype(np.float32) == centred).all())


def _is_copy(values: np.ndarray, truth: np.ndarray, codes: np.ndarray | None, classes: int) -> bool:
    if codes is None:
        return _is_linear_copy(values, truth)
    # Most columns are told apart by their first rows.
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
