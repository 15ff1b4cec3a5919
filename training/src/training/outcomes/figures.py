"""The realised metrics of joined rows, by version, day and slice, with 95 % intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct

from modelformat.logged import SAMPLE
from training.outcomes.intervals import bootstrapped, bootstrapped_cells, wilson
from training.outcomes.join import Joined
from training.outcomes.seen import Version

# With fewer rows, the metrics of a slice would be chance.
SMALL = 30
# A column with more different values holds names or identifiers, which are not slices.
MOST_VALUES = 50
MISSING = "(missing)"
_KEYS = ["model", "version", "release", "digest"]


class Figure(Struct, frozen=True, omit_defaults=False):
    """A metric of some rows, and its 95 % interval if there is one."""

    value: float
    lower: float | None = None
    upper: float | None = None


class Slice(Struct, frozen=True, omit_defaults=False):
    """The rows with one value of a column; without metrics if there are fewer than `SMALL`."""

    column: str
    value: str
    rows: int
    small: bool
    metrics: dict[str, Figure] = {}


class DayFigures(Struct, frozen=True, omit_defaults=False):
    """The rows of one day's requests."""

    day: str
    rows: int
    small: bool
    metrics: dict[str, Figure] = {}


class Realised(Struct, frozen=True, omit_defaults=False):
    """How right a version's answers were, on randomly sampled rows whose truth is known.

    `left_out` counts joined rows that were not sampled at random. `new_labels` are truths that the version never
    answered, the most frequent first.
    """

    rows: int
    left_out: int
    metrics: dict[str, Figure]
    days: tuple[DayFigures, ...]
    slices: tuple[Slice, ...]
    new_labels: tuple[str, ...] = ()


def realised(joined: Joined, slices: Mapping[Version, Sequence[str]]) -> dict[Version, Realised]:
    """Return the figures of each version.

    Args:
        joined: The rows.
        slices: The columns whose values are slices, by version; columns that the log does not keep are left out.
    """
    found = {}
    for version, answers in by_version(joined.answers):
        chosen = answers[answers["reason"] == SAMPLE]
        columns = [name for name in slices.get(version, ()) if name in joined.inputs.columns]
        found[version] = Realised(
            len(chosen), len(answers) - len(chosen), measured(chosen), tuple(_days(chosen)),
            tuple(_slices(chosen, joined.inputs.loc[chosen.index], columns)), _new_labels(chosen),
        )  # fmt: skip
    return found


def by_version(answers: pd.DataFrame) -> Iterator[tuple[Version, pd.DataFrame]]:
    """Yield the rows of each version."""
    for key, rows in answers.groupby(_KEYS, dropna=False, sort=False):
        model, version, release, digest = (part if isinstance(part, str) else None for part in key)
        yield Version(model or "", version or "", release, digest or ""), rows


def measured(answers: pd.DataFrame) -> dict[str, Figure]:
    """Return the metrics of some rows, by their names in training; none if there are no rows."""
    if not len(answers):
        return {}
    if isinstance(answers["prediction"].iloc[0], float):
        return _of_values(answers)
    return _of_labels(answers)


def _of_labels(answers: pd.DataFrame) -> dict[str, Figure]:
    right = int((answers["prediction"] == answers["truth"]).sum())
    figures = {"accuracy": Figure(right / len(answers), *wilson(right, len(answers)))}
    # Compared as text: the labels of a column have one type, and pandas cannot sort mixed ones.
    truth, predicted = answers["truth"].map(str), answers["prediction"].map(str)
    labels = sorted({*truth, *predicted})
    places = {label: at for at, label in enumerate(labels)}
    # Only pairs that occur: the truth comes from outside, and may have any number of labels.
    cells = truth.map(places).to_numpy() * len(labels) + predicted.map(places).to_numpy()
    pairs, counts = np.unique(cells, return_counts=True)
    figures["f1_macro"] = _with_interval(counts.astype(float), _F1(pairs, len(labels)), bootstrapped_cells)
    return figures


class _F1:
    """The mean F1 over the labels that are true for some row, from counts of pairs of truth and answer."""

    def __init__(self, pairs: np.ndarray, labels: int) -> None:
        self._truth, self._answer = np.divmod(pairs, labels)
        self._labels = labels

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Return the metric, shape [resamples], for counts of shape [resamples, pairs]."""
        both = _by_label(counts, self._truth, self._labels) + _by_label(counts, self._answer, self._labels)
        hits, right = np.zeros_like(both), self._truth == self._answer
        hits[:, self._truth[right]] = counts[:, right]
        f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
        means: np.ndarray = f1[:, np.unique(self._truth)].mean(axis=1)
        return means


def _by_label(counts: np.ndarray, places: np.ndarray, labels: int) -> np.ndarray:
    """Sum counts of shape [resamples, pairs] by the label of each pair; shape [resamples, labels]."""
    order = np.argsort(places, kind="stable")
    known, starts = np.unique(places[order], return_index=True)
    sums = np.zeros((len(counts), labels))
    sums[:, known] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums


def _of_values(answers: pd.DataFrame) -> dict[str, Figure]:
    truth, predicted = (answers[name].to_numpy(dtype=float) for name in ("truth", "prediction"))
    error = truth - predicted
    # Relative to the mean, because squares of large values would lose the differences between them.
    centred = truth - truth.mean()
    parts = np.column_stack([np.ones(len(answers)), error**2, np.abs(error), centred, centred**2])
    metrics: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "rmse": lambda sums: np.sqrt(sums[:, 1] / sums[:, 0]),
        "mae": lambda sums: sums[:, 2] / sums[:, 0],
        "r2": _r2,
    }
    figures = {name: _with_interval(parts, metric, bootstrapped) for name, metric in metrics.items()}
    return {name: figure for name, figure in figures.items() if np.isfinite(figure.value)}


def _r2(sums: np.ndarray) -> np.ndarray:
    spread = sums[:, 4] - sums[:, 3] ** 2 / sums[:, 0]
    known = spread > 1e-12 * np.maximum(sums[:, 4], 1e-300)
    return np.where(known, 1 - sums[:, 1] / np.where(known, spread, 1), np.nan)


def _with_interval(parts: np.ndarray, metric: Callable[[np.ndarray], np.ndarray], how: Callable[..., Any]) -> Figure:
    sums = parts.sum(axis=0) if parts.ndim == 2 else parts
    value = float(metric(sums[None, :])[0])
    interval = how(parts, metric) if np.isfinite(value) else None
    return Figure(value, *(interval or (None, None)))


def _days(answers: pd.DataFrame) -> Iterator[DayFigures]:
    for day, rows in answers.groupby(answers["time"].dt.strftime("%Y-%m-%d")):
        small = len(rows) < SMALL
        yield DayFigures(str(day), len(rows), small, {} if small else measured(rows))


def _slices(answers: pd.DataFrame, inputs: pd.DataFrame, columns: Sequence[str]) -> Iterator[Slice]:
    for column in columns:
        values = inputs[column].map(lambda value: MISSING if pd.isna(value) else str(value))
        counts = values.value_counts()
        if len(counts) > MOST_VALUES:
            continue
        for value in sorted(counts.index):
            rows = answers[values == value]
            small = len(rows) < SMALL
            yield Slice(column, value, len(rows), small, {} if small else measured(rows))


def _new_labels(answers: pd.DataFrame) -> tuple[str, ...]:
    if not len(answers) or isinstance(answers["prediction"].iloc[0], float):
        return ()
    answered = set(answers["prediction"].map(str))
    counts = answers["truth"].map(str).value_counts()
    return tuple(label for label in counts.index if label not in answered)[:20]
