"""What the data looked like in training, as the version's `baseline.json` tells it (see docs/model-format.md)."""

import logging
import math
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from serving.agreement import check_classes
from serving.errors import MALFORMED
from serving.signature import Label, ModelSpec, Value

logger = logging.getLogger(__name__)

_FILE = "baseline.json"


class FeatureBaseline(msgspec.Struct, frozen=True):
    """Shares of the rows in bins: bin i holds edges[i - 1] <= value < edges[i], the outer ones all that is beyond."""

    name: str
    edges: list[float]
    shares: list[float]

    def typical(self) -> float:
        """A value of the bin that most rows are in; 0 where nothing is known of them."""
        if not self.edges:
            return 0.0
        fullest = self.shares.index(max(self.shares))
        around = self.edges[max(fullest - 1, 0) : fullest + 1]
        return sum(around) / len(around)


class PredictionBaseline(msgspec.Struct, frozen=True):
    """The model's answers to `rows` rows: a share for each class, or one for each bin of the predicted number."""

    rows: int
    shares: list[float]
    classes: list[Label] | None = None
    edges: list[float] | None = None


class Baseline(msgspec.Struct, frozen=True):
    """The distributions of a version's features, in the order of its columns, over `rows` rows, and of its answers."""

    version: Literal[1]
    rows: int
    features: list[FeatureBaseline]
    prediction: PredictionBaseline

    def typical_row(self, spec: ModelSpec) -> tuple[Value, ...]:
        """A row of a value for each column that many rows of the training data had."""
        pairs = zip(spec.columns, self.features, strict=True)
        return tuple(column.fitting(feature.typical()) for column, feature in pairs)


def read_baseline(folder: Path, spec: ModelSpec) -> Baseline | None:
    """Reads the baseline of a version; None where it has none.

    One that cannot be used is none either, and a warning in the log: it is no reason not to serve the model.

    Raises:
        ModelUnusableError: when it has the classes of the model in another order.
    """
    try:
        baseline = msgspec.json.decode((folder / _FILE).read_bytes(), type=Baseline)
        reason = _mistake(baseline, spec)
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED) as error:
        reason = str(error)
    if reason:
        logger.warning("baseline.json does not follow docs/model-format.md, so drift is not measured: %s", reason)
        return None
    return baseline


def _mistake(baseline: Baseline, spec: ModelSpec) -> str:
    """Says what is wrong with a baseline; empty when nothing is."""
    prediction = baseline.prediction
    if [feature.name for feature in baseline.features] != [column.name for column in spec.columns]:
        return "its features are not the columns of the signature"
    for feature in baseline.features:
        if not _fit(baseline.rows, feature.edges, feature.shares):
            return f"edges and shares of {feature.name!r} do not go together"
    if spec.classes:
        check_classes(spec, prediction.classes or (), "its baseline.json")
        if tuple(prediction.classes or ()) != spec.classes:
            return "its classes are not those of the model"
        fits = len(prediction.shares) == len(spec.classes) and _are_shares(prediction.rows, prediction.shares)
    else:
        fits = _fit(prediction.rows, prediction.edges or [], prediction.shares)
    return "" if fits else "its prediction's shares do not go together with the rest"


def _fit(rows: int, edges: list[float], shares: list[float]) -> bool:
    rising = all(low < high for low, high in pairwise(edges))
    return rising and len(shares) == len(edges) + 1 and all(map(math.isfinite, edges)) and _are_shares(rows, shares)


def _are_shares(rows: int, shares: list[float]) -> bool:
    return rows > 0 and all(share >= 0 for share in shares) and math.isclose(sum(shares), 1.0, abs_tol=1e-6)
