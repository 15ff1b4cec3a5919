"""Filling gaps and encoding texts, as the first step of a pipeline."""

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, RobustScaler, StandardScaler

from training.kinds import Column

PREPARE = "prepare"
# The parts of the preparation, in the order of their output.
NUMBERS, GAPS, TEXTS = "numbers", "gaps", "texts"
# The steps for numbers. The centre is a median, so differences of whole numbers are whole numbers or halves.
CENTRE, SINGLE, FILL, SCALE = "centre", "single", "fill", "scale"
# Texts that fewer rows have share one column of the encoding, also with texts that training never saw.
_RARE = 5
_MOST_PLACES = 100


def preparation(columns: Sequence[Column], *, centre: bool, scale: bool) -> ColumnTransformer:
    """Return an unfitted step that turns the rows of a `Dataset` into finite numbers.

    Args:
        columns: The columns of the rows, in their order.
        centre: Whether to subtract the median from every number first.
        scale: Whether to standardise the numbers.
    """
    numbers = [index for index, column in enumerate(columns) if not column.is_text]
    gaps = [index for index in numbers if columns[index].optional]
    texts = [index for index, column in enumerate(columns) if column.is_text]
    parts: list[tuple[str, BaseEstimator, list[int]]] = []
    if numbers:
        parts.append((NUMBERS, _for_numbers(centre=centre, scale=scale), numbers))
    if gaps:
        parts.append((GAPS, MissingIndicator(features="all"), gaps))
    if texts:
        # A missing text is encoded like any other text.
        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist", min_frequency=_RARE, max_categories=_MOST_PLACES, sparse_output=False
        )
        parts.append((TEXTS, encoder, texts))
    return ColumnTransformer(parts, sparse_threshold=0)


def _for_numbers(*, centre: bool, scale: bool) -> Pipeline:
    steps: list[tuple[str, BaseEstimator]] = []
    if centre:
        steps.append((CENTRE, RobustScaler(with_scaling=False)))
    # As in the ONNX twin, the following steps see float32 values.
    steps.append((SINGLE, FunctionTransformer(np.float32)))
    steps.append((FILL, SimpleImputer(strategy="median", keep_empty_features=True)))
    if scale:
        steps.append((SCALE, StandardScaler()))
    return Pipeline(steps)
