"""The file `baseline.json`: how rows and answers were distributed in training (docs/model-format.md)."""

from typing import Literal

from msgspec import Struct

from modelformat.mlmodel import Label

FILE = "baseline.json"


class FeatureBaseline(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The shares of a column's values in bins; nulls do not count.

    For numbers, bin i holds edges[i - 1] <= value < edges[i], and the outer bins hold everything beyond. For
    categories, there is a share for each, and one for all others. `nulls` is the share of all rows without a value, if
    counted.
    """

    name: str
    edges: list[float] | None = None
    categories: list[str] | None = None
    shares: list[float]
    nulls: float | None = None


class PredictionBaseline(Struct, frozen=True, omit_defaults=True):
    """The model's answers to `rows` rows: a share for each class, or one for each bin of the predicted number."""

    rows: int
    shares: list[float]
    classes: list[Label] | None = None
    edges: list[float] | None = None


class Baseline(Struct, frozen=True):
    """The distributions of the features, in the order of the columns, over `rows` rows, and of the answers."""

    version: Literal[1, 2]
    rows: int
    features: list[FeatureBaseline]
    prediction: PredictionBaseline
