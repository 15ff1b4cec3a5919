"""How sure a figure is: 95 % intervals of shares and of metrics."""

from collections.abc import Callable

import numpy as np

# The quantile of the normal distribution for 95 %.
_Z = 1.959963984540054
_RESAMPLES = 1000
# More rows than these are resampled in so many groups of equal size.
_GROUPS = 2000
# Numbers that are resampled at once, of which a few copies are made.
_MOST_AT_ONCE = 1 << 20
_SEED = 20_260_101

Interval = tuple[float, float]


def wilson(hits: float, rows: int) -> Interval:
    """The 95 % interval of a share.

    It is Wilson's score interval (Journal of the American Statistical Association 22, 1927), which holds for few rows
    and for shares near 0 and 1, as the usual one does not (Brown, Cai and DasGupta, Statistical Science 16, 2001).
    """
    share, square = hits / rows, _Z**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = _Z / (1 + square / rows) * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def of_confidences(mean: float, variance: float, rows: int) -> Interval:
    """The 95 % interval of the share that is right, of rows that are right with known probabilities.

    Args:
        mean: Of the probabilities.
        variance: The sum of p(1 - p) of the rows.
        rows: How many.
    """
    half = _Z * float(np.sqrt(variance)) / rows
    return max(0.0, mean - half), min(1.0, mean + half)


def bootstrapped(parts: np.ndarray, metric: Callable[[np.ndarray], np.ndarray]) -> Interval | None:
    """The 95 % interval of a metric that sums over rows give, by the percentile bootstrap.

    Its source is Efron, Bootstrap Methods (Annals of Statistics 7, 1979).

    Args:
        parts: What each row adds to the sums, shape [rows, sums].
        metric: Gives the metric, shape [resamples], for sums of shape [resamples, sums]; NaN where it has none.

    Returns:
        None where most resamples have no metric.
    """
    generator = np.random.default_rng(_SEED)
    groups = _grouped(parts, generator)
    sums = np.empty((_RESAMPLES, parts.shape[1]))
    for at in range(_RESAMPLES):
        sums[at] = np.bincount(generator.integers(len(groups), size=len(groups)), minlength=len(groups)) @ groups
    return _percentiles(metric(sums))


def bootstrapped_cells(counts: np.ndarray, metric: Callable[[np.ndarray], np.ndarray]) -> Interval | None:
    """As `bootstrapped`, for rows that fall into cells: counts of shape [cells], as many resampled at once as fit."""
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
