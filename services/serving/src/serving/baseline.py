"""The distribution of the training data, from the version's `baseline.json` (see docs/model-format.md)."""

import logging
import math
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from modelformat.baseline import FILE, Baseline, FeatureBaseline
from serving.agreement import check_classes
from serving.columns import Column, Value
from serving.errors import MALFORMED
from serving.signature import ModelSpec

logger = logging.getLogger(__name__)


def all_shares(feature: FeatureBaseline) -> list[float]:
    """Return the shares of all rows in the bins, and last the share of nulls if it is known."""
    if feature.nulls is None:
        return feature.shares
    return [*(share * (1 - feature.nulls) for share in feature.shares), feature.nulls]


def typical_row(baseline: Baseline, spec: ModelSpec) -> tuple[Value, ...]:
    """Return a row with a typical value of the training data in each column."""
    return tuple(_typical(*pair) for pair in zip(baseline.features, spec.columns, strict=True))


def _typical(feature: FeatureBaseline, column: Column) -> Value:
    """Return a value of the bin with the most rows, or any valid value if the baseline has none."""
    if feature.categories:
        known = feature.shares[: len(feature.categories)]
        return feature.categories[known.index(max(known))]
    if not feature.edges:
        return column.fitting(0.0)
    fullest = feature.shares.index(max(feature.shares))
    around = feature.edges[max(fullest - 1, 0) : fullest + 1]
    return column.fitting(_short(sum(around) / len(around)))


def read_baseline(folder: Path, spec: ModelSpec) -> Baseline | None:
    """Read the baseline of a version, or None if it has none.

    An unusable one counts as missing, with a warning in the log: the model is still served.

    Raises:
        ModelUnusableError: if it has the classes of the model in another order.
    """
    try:
        baseline = msgspec.json.decode((folder / FILE).read_bytes(), type=Baseline)
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
    """Return what is wrong with a baseline, or an empty string."""
    prediction = baseline.prediction
    if [feature.name for feature in baseline.features] != [column.name for column in spec.columns]:
        return "its features are not the columns of the signature"
    for feature, column in zip(baseline.features, spec.columns, strict=True):
        if reason := _mistake_of(feature, column, baseline.rows):
            return reason
    if spec.classes:
        check_classes(spec, prediction.classes or (), "its baseline.json")
        if tuple(prediction.classes or ()) != spec.classes:
            return "its classes are not those of the model"
        fits = len(prediction.shares) == len(spec.classes) and _are_shares(prediction.rows, prediction.shares)
    else:
        fits = _fit(prediction.rows, prediction.edges or [], prediction.shares)
    return "" if fits else "its prediction's shares do not go together with the rest"


def _mistake_of(feature: FeatureBaseline, column: Column, rows: int) -> str:
    name = feature.name
    if feature.nulls is not None and not 0 <= feature.nulls <= 1:
        return f"the nulls of {name!r} are not a share"
    if feature.nulls == 1 and not any(feature.shares):
        return ""
    if column.kind == "category":
        if feature.categories is None:
            return f"{name!r} is text, but there are no categories of it"
        fits = len(feature.shares) == len(feature.categories) + 1 and _are_shares(rows, feature.shares)
        return "" if fits else f"categories and shares of {name!r} do not go together"
    if feature.categories is not None:
        return f"{name!r} is not text, but there are categories of it"
    return "" if _fit(rows, feature.edges or [], feature.shares) else f"edges and shares of {name!r} do not go together"


def _short(value: float) -> float:
    """Return a number with only as many digits as single precision needs."""
    return float(str(np.float32(value)))


def _fit(rows: int, edges: list[float], shares: list[float]) -> bool:
    rising = all(low < high for low, high in pairwise(edges))
    return rising and len(shares) == len(edges) + 1 and all(map(math.isfinite, edges)) and _are_shares(rows, shares)


def _are_shares(rows: int, shares: list[float]) -> bool:
    return rows > 0 and all(share >= 0 for share in shares) and math.isclose(sum(shares), 1.0, abs_tol=1e-6)
