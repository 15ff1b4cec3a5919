"""Confidence intervals: 95 % intervals of shares and of metrics."""

from collections.abc import Callable

import numpy as np

# The quantile of the normal distribution for a 95 % interval.
_Z = 1.959963984540054
_RESAMPLES = 1000
# More rows are put into this number of groups of equal size, which are resampled.
_GROUPS = 2000
# The most numbers to resample at once; a few copies of them are made.
_MOST_AT_ONCE = 1 << 20
_SEED = 20_260_101

Interval = tuple[float, float]


def wilson(hits: float, rows: int) -> Interval:
    """Return the 95 % interval of a share.

    It is Wilson's score interval (Journal of the American Statistical Association 22, 1927). Unlike the usual interval,
    it holds for few rows and for shares near 0 and 1 (Brown, Cai and DasGupta, Statistical Science 16, 2001).
    """
    share, square = hits / rows, _Z**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = _Z / (1 + square / rows) * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def of_confidences(mean: float, variance: float, rows: int) -> Interval:
    """Return the 95 % interval of the share of right answers, if the probability of each to be right is known.

    Args:
        mean: The mean of the probabilities.
        variance: The sum of p(1 - p) over the rows.
        rows: The number of rows.
    """
    half = _Z * float(np.sqrt(variance)) / rows
    return max(0.0, mean - half), min(1.0, mean + half)


def bootstrapped(parts: np.ndarray, metric: Callable[[np.ndarray], np.ndarray]) -> Interval | None:
    """Return the 95 % interval of a metric of sums over rows, by the percentile bootstrap.

    See Efron, Bootstrap Methods (Annals of Statistics 7, 1979).

    Args:
        parts: What each row adds to the sums, shape [rows, sums].
        metric: Returns the metric, shape [resamples], for sums of shape [resamples, sums]; NaN if undefined.

    Returns:
        None if the metric is not defined for most resamples.
    """
    generator = np.random.default_rng(_SEED)
    groups = _grouped(parts, generator)
    sums = np.empty((_RESAMPLES, parts.shape[1]))
    for at in range(_RESAMPLES):
        sums[at] = np.bincount(generator.integers(len(groups), size=len(groups)), minlength=len(groups)) @ groups
    return _percentiles(metric(sums))


def bootstrapped_cells(counts: np.ndarray, metric: Callable[[np.ndarray], np.ndarray]) -> Interval | None:
    """Return an interval as `bootstrapped` does, for counts of rows in cells, shape [cells]."""
    generator = np.random.default_rng(_SEED)
    total = int(counts.sum())
    at_once = max(1, _MOST_AT_ONCE // len(counts))
    found = []
    for done in range(0, _RESAMPLES, at_once):
        some = generator.multinomial(total, counts / total, size=min(at_once, _RESAMPLES - done))
        found.append(metric(some.astype(float)))
    return _percentiles(np.concatenate(found))


def _grouped(parts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if len(parts) <= _GROUPS:
        return parts
    shuffled = parts[generator.permutation(len(parts))]
    starts = np.linspace(0, len(parts), _GROUPS, endpoint=False).astype(np.int64)
    return np.asarray(np.add.reduceat(shuffled, starts, axis=0))


def _percentiles(values: np.ndarray) -> Interval | None:
    found = values[np.isfinite(values)]
    if len(found) < _RESAMPLES // 2:
        return None
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
