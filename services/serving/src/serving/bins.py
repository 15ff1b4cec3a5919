"""Assigns the values of rows to bins: for numbers between edges, one for each category, and one for nulls.

The bins of all columns follow each other in one array of counts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelformat.baseline import FeatureBaseline
from serving.baseline import all_shares
from serving.runtimes.base import Matrix

Counts = NDArray[np.int64]


class Bins:
    """The bins of the first columns of a model.

    Attributes:
        width: The number of bins.
        slices: The bins of each column.
    """

    def __init__(self, features: Sequence[FeatureBaseline]) -> None:
        sizes = [len(all_shares(feature)) for feature in features]
        ends = np.cumsum(sizes, dtype=np.intp)
        self.width = int(ends[-1]) if sizes else 0
        self.slices = [slice(int(end) - size, int(end)) for size, end in zip(sizes, ends, strict=True)]
        self._starts = ends - np.array(sizes, dtype=np.intp)
        self._numbers = [index for index, feature in enumerate(features) if feature.categories is None]
        self._all_numbers = len(self._numbers) == len(features)
        self._edges = _padded([features[index].edges or [] for index in self._numbers])
        self._categories = {
            index: {category: place for place, category in enumerate(feature.categories)}
            for index, feature in enumerate(features)
            if feature.categories is not None
        }
        # The last bin, of the columns that may be null.
        self._nulls = {index: sizes[index] - 1 for index, feature in enumerate(features) if feature.nulls is not None}

    def count(self, rows: Matrix) -> Counts:
        """Count rows, of shape [rows, columns or more], in their bins. The result has shape [width]."""
        if self._all_numbers:
            bins = self._of_numbers(rows[:, : len(self.slices)])
        else:
            bins = np.zeros((len(rows), len(self.slices)), dtype=np.intp)
            bins[:, self._numbers] = self._of_numbers(rows[:, self._numbers])
        for index, places in self._categories.items():
            other = len(places)
            bins[:, index] = [places.get(value, other) for value in rows[:, index]]
        for index, place in self._nulls.items():
            bins[_are_null(rows[:, index], text=index in self._categories), index] = place
        return np.bincount((bins + self._starts).reshape(-1), minlength=self.width)

    def _of_numbers(self, rows: Matrix) -> NDArray[np.integer]:
        numbers = rows.astype(np.float32, copy=False)
        # Narrow integers, because the processor adds many of them at once.
        bins = np.zeros(numbers.shape, dtype=np.int32)
        for edges in self._edges.T:
            bins += numbers >= edges
        return bins


def _are_null(values: NDArray[Any], *, text: bool) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = values == "" if text else np.isnan(values.astype(np.float64))
    return found


def _padded(edges: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Return an array [columns, edges] of lists of different lengths, padded with infinity, which no value reaches."""
    longest = max(map(len, edges), default=0)
    padded = np.full((len(edges), longest), np.inf, dtype=np.float32)
    for row, own in zip(padded, edges, strict=True):
        row[: len(own)] = own
    return padded
