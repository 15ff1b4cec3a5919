"""Rows that replace the training data where a column is left out, drawn from the distributions in `baseline.json`.

So a version need not contain rows of the training data. Each column is drawn independently, from its bins, its
categories and its share of nulls. So correlations between columns are lost.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelformat.baseline import FeatureBaseline
from modelformat.columns import NO_TEXT, Kind

ROWS = 32


def background_of(
    features: Sequence[FeatureBaseline], kinds: Sequence[Kind], rows: int = ROWS, seed: int = 0
) -> NDArray[Any]:
    """Draw rows with each column's distribution; the same baseline gives the same rows.

    Args:
        features: The features of a baseline.
        kinds: Their kinds.
        rows: The number of rows.
        seed: The seed of the order of each column's values.

    Returns:
        Rows in the form for models, shape [rows, columns]: floats, or objects if a column is text. Nulls are NaN, or
            the empty text.
    """
    random = np.random.default_rng(seed)
    text = "category" in kinds
    drawn: NDArray[Any] = np.empty((rows, len(features)), dtype=np.object_ if text else np.float64)
    for index, (feature, kind) in enumerate(zip(features, kinds, strict=True)):
        # Evenly spaced quantiles, so that even a few rows have the right shares.
        levels = (random.permutation(rows) + 0.5) / rows
        drawn[:, index] = [_value(feature, kind, level) for level in levels.tolist()]
    return drawn


def _value(feature: FeatureBaseline, kind: Kind, level: float) -> float | str:
    """Return the value at a quantile of the distribution, where nulls come after all values."""
    nulls = feature.nulls or 0.0
    if level >= 1 - nulls:
        return NO_TEXT if kind == "category" else math.nan
    level /= 1 - nulls
    if kind == "category":
        # The other categories have no names, so known ones are drawn instead.
        known = feature.shares[:-1]
        categories = feature.categories or []
        return categories[_bin(known, level)[0]] if sum(known) > 0 else NO_TEXT
    place, within = _bin(feature.shares, level)
    return _OF_KIND.get(kind, _number)(feature.edges or [0.0], place, within)


def _bin(shares: Sequence[float], level: float) -> tuple[int, float]:
    """Return the bin of a quantile, and the position in it, from 0 to 1."""
    level *= sum(shares)
    low = 0.0
    filled = 0
    for place, high in enumerate(accumulate(shares)):
        if level < high:
            return place, (level - low) / (high - low)
        low = high
        filled = place if shares[place] else filled
    return filled, 1.0


def _number(edges: Sequence[float], place: int, within: float) -> float:
    """Return a number of a bin. An outer bin, which has no end, counts as half as wide as its neighbour."""
    first = (edges[1] - edges[0]) / 2 if len(edges) > 1 else 0.0
    last = (edges[-1] - edges[-2]) / 2 if len(edges) > 1 else 0.0
    ends = [edges[0] - first, *edges, edges[-1] + last]
    return ends[place] + within * (ends[place + 1] - ends[place])


def _integer(edges: Sequence[float], place: int, within: float) -> float:
    """Return a whole number of a bin, even if the bin is narrow."""
    if place == 0:
        return float(math.ceil(edges[0]) - 1 - round((1 - within) * _width(edges[:2])))
    low = math.ceil(edges[place - 1])
    if place == len(edges):
        return float(low + round(within * _width(edges[-2:])))
    return float(low + min(int(within * (math.ceil(edges[place]) - low)), max(math.ceil(edges[place]) - low - 1, 0)))


def _width(edges: Sequence[float]) -> float:
    return (edges[-1] - edges[0]) / 2


def _boolean(edges: Sequence[float], place: int, _: float) -> float:
    return float(place > 0 and edges[place - 1] > 0)


_OF_KIND: dict[Kind, Callable[[Sequence[float], int, float], float]] = {"integer": _integer, "boolean": _boolean}
