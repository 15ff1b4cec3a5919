"""Which class an answer names. Mostly it is the one of the largest probability; some models say it themselves.

A threshold of their own or scores may decide. What such a model computes for a row has one number more, the place of
the class that it names. One that has no probabilities at all gives 1 for that class, and 0 for the others.
"""

import numpy as np
from numpy.typing import NDArray

from serving.runtimes.base import Matrix
from serving.signature import ModelSpec


def places(result: Matrix, classes: int) -> NDArray[np.integer]:
    """The place of the class of each row, shape [rows], of what a model of so many classes computed."""
    if result.shape[1] > classes:
        return result[:, classes].astype(np.int64)
    likeliest: NDArray[np.integer] = result.argmax(axis=1)
    return likeliest


def of_places(result: Matrix, classes: int) -> Matrix:
    """The probabilities of the classes that are named, shape [rows]."""
    # Three times as fast as to look for the largest, where it is the one.
    chosen: Matrix = result[np.arange(len(result)), places(result, classes)]
    return chosen


def width(spec: ModelSpec) -> int:
    """How many numbers a model computes for a row that it classifies."""
    return len(spec.classes) + (spec.labels == "predicted")


def from_places(found: NDArray[np.integer], classes: int) -> Matrix:
    """What a model that has no probabilities computes; NaN where it names none of its classes."""
    result = np.full((len(found), classes), np.nan, dtype=np.float32)
    known = (found >= 0) & (found < classes)
    result[known] = np.eye(classes, dtype=np.float32)[found[known]]
    return result
