"""An estimate of the accuracy while truth is missing: the mean confidence, calibrated where there is truth.

This is confidence-based performance estimation (CBPE), as NannyML describes it for the accuracy
(docs/how_it_works/performance_estimation in its repository): an answer of probability p is right in p of all cases. It
holds as long as confidences are right. It notices harder rows, but it cannot notice that the same rows now have other
answers (concept drift). So every output calls it an estimate. NannyML itself is not used: it needs the probability of
every class, and the log keeps only that of the answer.
"""

import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.isotonic import IsotonicRegression

from modelformat.logged import SAMPLE
from training.outcomes.figures import Figure, by_version
from training.outcomes.intervals import of_confidences
from training.outcomes.join import Joined
from training.outcomes.seen import Version, bins_of, centres

# With fewer rows of known truth, a calibration would be chance.
_FEWEST = 200


class DayEstimate(Struct, frozen=True, omit_defaults=False):
    """The estimated accuracy of a day's rows, whether or not their truth is known."""

    day: str
    rows: int
    accuracy: Figure
    calibrated: bool


class Estimated(Struct, frozen=True, omit_defaults=False):
    """The estimated accuracy of a version's rows; `calibrated` if every day is."""

    rows: int
    accuracy: Figure
    calibrated: bool
    days: tuple[DayEstimate, ...]


def estimated(joined: Joined) -> dict[Version, Estimated]:
    """Return the estimate for each version that gives confidences."""
    known = dict(by_version(joined.answers[joined.answers["reason"] == SAMPLE]))
    counts: dict[Version, dict[str, np.ndarray]] = {}
    for (version, day), seen in joined.seen.days.items():
        if seen.confidences is not None:
            counts.setdefault(version, {})[day] = seen.confidences
    return {version: _of_version(days, known.get(version)) for version, days in counts.items()}


def _of_version(days: dict[str, np.ndarray], known: pd.DataFrame | None) -> Estimated:
    found, total, mean, variance = [], 0, 0.0, 0.0
    for day in sorted(days):
        confidences, rows = days[day], int(days[day].sum())
        meaning, calibrated = _meaning(known, day)
        right, spread = float(confidences @ meaning), float(confidences @ (meaning * (1 - meaning)))
        found.append(DayEstimate(day, rows, _figure(right / rows, spread, rows), calibrated))
        total, mean, variance = total + rows, mean + right, variance + spread
    calibrated = all(each.calibrated for each in found)
    return Estimated(total, _figure(mean / total, variance, total), calibrated, tuple(found))


def _figure(mean: float, variance: float, rows: int) -> Figure:
    return Figure(mean, *of_confidences(mean, variance, rows))


def _meaning(known: pd.DataFrame | None, day: str) -> tuple[np.ndarray, bool]:
    """Return how often answers of each bin's confidence are right, learned from the days before; shape [BINS]."""
    if known is None:
        return centres(), False
    before = known[known["time"] < pd.Timestamp(day, tz="UTC")]
    right = (before["prediction"] == before["truth"]).to_numpy(dtype=float)
    if len(before) < _FEWEST or right.min() == right.max():
        return centres(), False
    rule = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    rule.fit(centres()[bins_of(before["probability"].to_numpy(dtype=float))], right)
    return np.asarray(rule.predict(centres())), True
