"""The gate: what a model must achieve, as its stored files answer, before it is registered."""

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from msgspec import Struct
from msgspec.structs import replace

from training import metrics
from training.bundle import Bundle, BundleError
from training.checks import Check, at_least, at_most
from training.data import Dataset
from training.errors import BadInputError
from training.kinds import numeric
from training.labels import places, shares
from training.parity import parity_checks
from training.settings import Directional, GateSettings, Invariance, suggestion
from training.split import Split

# The allowed difference between a batch and its single rows, or between two orders of rows: float32 rounding.
_ROUNDING = 1e-5
# How far noise may move a predicted value, in standard deviations of the target, and for which share of the rows.
# Trees have steps, and among many thousands of rows some are next to one. Of 1,000 rows or fewer, all count.
_NOISE_MOVES = 0.25
_NOISE_ROWS = 0.999
# The share of labels that noise may change, if thresholds or scores decide labels.
_NOISE_FLIPS = 0.05
_LATENCY_RUNS = 200
_WARM_UP_RUNS = 20
_SINGLE_ROWS = 200
_MOST_NAMED = 10
# With fewer rows that are newer than the champion, the result would be chance.
_FEWEST_NEWEST = 20
# A few equal rows happen. A larger share means that the data contains copies.
_MOST_DUPLICATES = 0.01


class GateReport(Struct, frozen=True):
    """All checks of one model, and whether every one passed."""

    passed: bool
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def headline(self) -> str:
        """Return how many of the checks passed."""
        return f"{len(self.checks) - len(self.failures)} of {len(self.checks)} checks passed"


class Champion(Struct, frozen=True, eq=False):
    """The registered model that a new one is compared with.

    If its files could not be read, `bundle` is the error that says why. `trained` is when it was registered, in seconds
    since 1970.
    """

    title: str
    bundle: Bundle | BundleError
    trained: float | None = None


class _Subject(Struct, frozen=True, eq=False):
    """What the checks examine: a model, the held-out rows, and its scores on them.

    Tolerances are shares of `scale`: 1 for probabilities, the target's standard deviation for values.
    """

    bundle: Bundle
    split: Split
    scores: np.ndarray
    figures: dict[str, float]
    scale: float

    @property
    def classes(self) -> Sequence[str | bool | int]:
        return self.bundle.contract.classes

    @property
    def named(self) -> np.ndarray:
        """The places of the predicted classes of the held-out rows."""
        return places(self.scores, len(self.classes))

    def answers(self, rows: np.ndarray) -> np.ndarray:
        """Return what tolerances apply to: probabilities (or 1 for the predicted class), or values."""
        return self.comparable(self.bundle.twin.scores(rows))

    def comparable(self, scores: np.ndarray) -> np.ndarray:
        return shares(scores, len(self.classes)) if self.classes else scores

    def moved(self, rows: np.ndarray) -> np.ndarray:
        moves: np.ndarray = self.answers(rows) - self.comparable(self.scores)
        return moves


def verify_settings(
    settings: GateSettings, dataset: Dataset, quantile: float | None = None, *, probable: bool = True
) -> None:
    """Refuse settings that name metrics, features or classes which the data set does not have.

    Raises:
        BadInputError: The sentence names the setting and the possible values.
    """
    known = metrics.metric_names(dataset.classes, quantile, probable=probable)
    what = dataset.task if probable else f"{dataset.task} without probabilities"
    for setting, name in [("thresholds", name) for name in settings.thresholds] + (
        [("champion_metric", settings.champion_metric)] if settings.champion_metric else []
    ):
        if name not in known:
            raise BadInputError(
                f"gate.{setting}: no metric {name!r} for {what}.{suggestion(name, known)} There are {', '.join(known)}."
            )
    expectations: list[tuple[str, Directional | Invariance]] = [
        *(("directional", check) for check in settings.directional),
        *(("invariance", check) for check in settings.invariance),
    ]
    for setting, check in expectations:
        if check.feature not in dataset.features:
            hint = suggestion(check.feature, dataset.features)
            raise BadInputError(f"gate.{setting}: {dataset.source} has no feature {check.feature!r}.{hint}")
        kind = dataset.columns[dataset.features.index(check.feature)].kind
        if kind in ("category", "boolean"):
            raise BadInputError(
                f"gate.{setting}: feature {check.feature!r} of {dataset.source} is of kind {kind}, so `step` cannot "
                "be added to it; use a column of numbers, integers or datetimes."
            )
    for check in settings.directional:
        if dataset.classes and not any(check.label == c and type(check.label) is type(c) for c in dataset.classes):
            raise BadInputError(
                f"gate.directional: 'class' for feature {check.feature!r} is {check.label!r}; "
                f"it must be one of {', '.join(map(repr, dataset.classes))}."
            )
        if not dataset.classes and check.label is not None:
            raise BadInputError(f"gate.directional: a regression has no classes; leave out 'class' = {check.label!r}.")


def columns_check(dataset: Dataset, settings: GateSettings) -> Check:
    """Check whether the data has columns that a model should not learn from, and refuse them if settings say so."""
    named = ", ".join(repr(concern.column) for concern in dataset.concerns[:_MOST_NAMED])
    if len(dataset.concerns) > _MOST_NAMED:
        named += f" and {len(dataset.concerns) - _MOST_NAMED} more"
    if settings.columns == "refuse":
        detail = f"columns that a model should not learn from: {named or 'none'}"
        return at_most("columns", len(dataset.concerns), 0, detail)
    if not named:
        return Check(name="columns", passed=True, detail="no concerns")
    detail = f"a model should perhaps not learn from: {named}; with gate.columns: refuse, this would fail"
    return Check(name="columns", passed=True, detail=detail, warning=True)


def duplicates_check(split: Split, settings: GateSettings) -> Check:
    """Check whether held-out rows are equal to training rows, which makes figures on them too good."""
    learnt = set(_row_hashes(split.train_rows, split.train_truth).tolist())
    both = sum(found in learnt for found in _row_hashes(split.test_rows, split.test_truth).tolist())
    share = both / len(split.test_rows)
    detail = f"{both} of {len(split.test_rows)} held-out rows are equal to a training row"
    if settings.duplicates == "refuse":
        return at_most("duplicates", share, _MOST_DUPLICATES, detail)
    much = share > _MOST_DUPLICATES
    if much:
        detail += "; `split: {group: COLUMN}` keeps rows together; with gate.duplicates: refuse, this would fail"
    return Check(name="duplicates", passed=True, detail=detail, warning=much)


def _row_hashes(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    table = pd.DataFrame(rows).assign(truth=truth)
    return pd.util.hash_pandas_object(table, index=False).to_numpy()


def judge(
    bundle: Bundle, split: Split, settings: GateSettings, champion: Champion | None, extra: Iterable[Check] = ()
) -> GateReport:
    """Run every check of a model on the held-out rows.

    Args:
        bundle: The model, as the artifact store returned it.
        split: Held-out rows to judge on, and training rows for the constant guess.
        settings: Bounds and expectations that `verify_settings` has accepted.
        champion: The model to compare with, if any.
        extra: Checks made elsewhere that belong in the report.
    """
    scores = bundle.twin.scores(split.test_rows)
    classes = bundle.contract.classes
    subject = _Subject(
        bundle,
        split,
        scores,
        metrics.measure(scores, split.test_truth, classes, bundle.quantile),
        1.0 if classes else float(np.std(split.test_truth)) or 1.0,
    )
    checks = (
        *extra,
        *_thresholds(subject, settings),
        _baseline(subject),
        _versus_champion(subject, settings, champion),
        *_versus_champion_on_newest(subject, settings, champion),
        *_classes_named(subject, settings),
        *parity_checks(bundle, split, settings, subject.scale),
        _row_order(subject),
        _batch_and_single(subject),
        _noise(subject, settings),
        *(_directional(subject, check) for check in settings.directional),
        *(_invariance(subject, check) for check in settings.invariance),
        _latency(subject, settings),
    )
    return GateReport(all(check.passed for check in checks), checks)


def _metric_check(metric: str, name: str, figure: float, bound: float, detail: str = "") -> Check:
    compare: Callable[..., Check] = at_most if metric in metrics.LOWER_IS_BETTER else at_least
    return compare(name, figure, bound, detail)


def _thresholds(subject: _Subject, settings: GateSettings) -> list[Check]:
    bundle = subject.bundle
    bounds = metrics.default_thresholds(bundle.contract.task, bundle.quantile) | settings.thresholds
    return [_metric_check(metric, metric, subject.figures[metric], bound) for metric, bound in bounds.items()]


def _baseline(subject: _Subject) -> Check:
    quantile = subject.bundle.quantile
    contract = subject.bundle.contract
    metric = metrics.baseline_metric(contract.task, quantile, probable=contract.probabilities)
    guesses = metrics.baseline_scores(subject.split.train_truth, len(subject.scores), subject.classes, quantile)
    bound = metrics.measure(guesses, subject.split.test_truth, subject.classes, quantile)[metric]
    return _metric_check(metric, "baseline", subject.figures[metric], bound, f"{metric} of a constant guess")


def _versus_champion(subject: _Subject, settings: GateSettings, champion: Champion | None) -> Check:
    if champion is None:
        detail = f"no champion yet: no version has the alias {settings.champion!r} (gate.champion)"
        return Check(name="champion", passed=True, detail=detail)
    if isinstance(champion.bundle, BundleError):
        return Check(name="champion", passed=True, detail=f"{champion.title} is not comparable: {champion.bundle}")
    # A difference in probabilities does not matter here: labels have figures as well.
    if replace(champion.bundle.contract, probabilities=True) != replace(subject.bundle.contract, probabilities=True):
        detail = f"{champion.title} is not comparable: it has another task, other classes or another signature"
        return Check(name="champion", passed=True, detail=detail)
    quantile = subject.bundle.quantile
    metric = settings.champion_metric or metrics.champion_metric(subject.bundle.contract.task, quantile)
    scores = champion.bundle.twin.scores(subject.split.test_rows)
    measured = metrics.measure(scores, subject.split.test_truth, subject.classes, quantile)
    if metric not in measured:
        detail = f"{champion.title} is not comparable: it gives no probabilities, so it has no {metric}"
        return Check(name="champion", passed=True, detail=detail)
    best = measured[metric]
    margin = settings.champion_margin if metric in metrics.LOWER_IS_BETTER else -settings.champion_margin
    detail = f"{metric}; {champion.title} has {best:.6g}, margin {settings.champion_margin:g}"
    return _metric_check(metric, "champion", subject.figures[metric], best + margin, detail)


def _versus_champion_on_newest(subject: _Subject, settings: GateSettings, champion: Champion | None) -> list[Check]:
    """Compare both on the held-out rows that came after the champion, which neither of them learned from."""
    times = subject.split.test_times
    if champion is None or champion.trained is None or times is None:
        return []
    newest = times > champion.trained
    if newest.sum() < _FEWEST_NEWEST:
        detail = f"{int(newest.sum())} held-out rows came after {champion.title}; the check needs {_FEWEST_NEWEST}"
        return [Check(name="champion on the newest rows", passed=True, detail=detail)]
    split = replace(
        subject.split, test_rows=subject.split.test_rows[newest], test_truth=subject.split.test_truth[newest]
    )
    scores, bundle = subject.scores[newest], subject.bundle
    figures = metrics.measure(scores, split.test_truth, subject.classes, bundle.quantile)
    found = _versus_champion(_Subject(bundle, split, scores, figures, subject.scale), settings, champion)
    detail = f"{found.detail}; on the {int(newest.sum())} held-out rows that came after it"
    return [replace(found, name="champion on the newest rows", detail=detail)]


def _classes_named(subject: _Subject, settings: GateSettings) -> list[Check]:
    if not subject.classes:
        return []
    labels, truth = subject.bundle.labels, subject.split.test_truth
    named = set(subject.named.tolist())
    never = [
        f"{label!r} (in {int((truth == labels[index]).sum())} of {len(truth)} held-out rows)"
        for index, label in enumerate(subject.classes)
        if index not in named
    ]
    detail = f"classes that are never predicted: {', '.join(never[:_MOST_NAMED]) or 'none'}"
    if never:
        detail += "; class_weight: balanced (in params) gives rare classes more weight"
    if settings.classes == "refuse":
        return [at_most("classes", len(never), 0, detail + ("; gate.classes: warn allows this" if never else ""))]
    return [Check(name="classes", passed=True, detail=detail, warning=bool(never))]


def _row_order(subject: _Subject) -> Check:
    backwards = subject.answers(subject.split.test_rows[::-1])[::-1]
    moved = float(np.abs(backwards - subject.comparable(subject.scores)).max()) / subject.scale
    return at_most("row order", moved, _ROUNDING, "largest change when the rows come in reverse order")


def _batch_and_single(subject: _Subject) -> Check:
    rows = subject.split.test_rows[:_SINGLE_ROWS]
    single = np.concatenate([subject.answers(rows[index : index + 1]) for index in range(len(rows))])
    moved = float(np.abs(single - subject.comparable(subject.scores)[:_SINGLE_ROWS]).max()) / subject.scale
    return at_most("batch and single", moved, _ROUNDING, "largest change when rows come one at a time")


def _noise(subject: _Subject, settings: GateSettings) -> Check:
    rows = subject.split.test_rows
    noise = np.random.default_rng(0).normal(size=rows.shape)
    scores = subject.bundle.twin.scores(_shaken(subject, rows, noise * settings.noise))
    if not subject.classes:
        moves = np.abs(scores - subject.scores) / subject.scale
        largest = float(np.quantile(moves, _NOISE_ROWS, method="higher"))
        detail = f"largest change of 999 in 1,000 rows under noise of {settings.noise:g} deviations"
        return at_most("noise", largest, _NOISE_MOVES, detail)
    flipped = places(scores, len(subject.classes)) != subject.named
    if subject.bundle.labels_by != "largest":
        # The probability does not decide the label here, so it does not show which rows are beyond doubt.
        detail = f"share of rows with another label under noise of {settings.noise:g} deviations"
        return at_most("noise", float(flipped.mean()), _NOISE_FLIPS, detail)
    confident = subject.scores.max(axis=1) >= settings.confidence
    detail = f"flips of {int(confident.sum())} confident rows under noise of {settings.noise:g} deviations"
    return at_most("noise", int((confident & flipped).sum()), 0, detail)


def _shaken(subject: _Subject, rows: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return rows with noise, given in standard deviations, added to all numbers; missing values stay missing."""
    shaken = rows.copy()
    for index, (kind, _) in enumerate(subject.bundle.kinds):
        if kind != "category":
            values = numeric(rows, index)
            present = values[~np.isnan(values)]
            shaken[:, index] = values + noise[:, index] * (present.std() if len(present) else 0.0)
    return shaken


def _directional(subject: _Subject, check: Directional) -> Check:
    column = list(subject.classes).index(check.label) if check.label is not None else 0
    moved = _stepped(subject, check.feature, check.step)[:, column] / subject.scale
    wrong = -moved if check.direction == "up" else moved
    what = f"P({check.label})" if subject.classes else subject.bundle.target
    detail = f"worst move of {what} the wrong way when {check.feature} rises by {check.step:g}; it should go "
    return at_most(f"direction of {check.feature}", float(wrong.max()), check.tolerance, detail + check.direction)


def _invariance(subject: _Subject, check: Invariance) -> Check:
    moves = [np.abs(_stepped(subject, check.feature, step)).max() for step in (check.step, -check.step)]
    detail = f"largest change when {check.feature} moves by {check.step:g} either way"
    return at_most(f"invariance to {check.feature}", float(max(moves)) / subject.scale, check.tolerance, detail)


def _stepped(subject: _Subject, feature: str, step: float) -> np.ndarray:
    rows = subject.split.test_rows.copy()
    index = subject.bundle.features.index(feature)
    rows[:, index] = numeric(rows, index) + step
    return subject.moved(rows)


def _latency(subject: _Subject, settings: GateSettings) -> Check:
    row = subject.split.test_rows[:1]
    times = []
    for _ in range(_WARM_UP_RUNS + _LATENCY_RUNS):
        start = time.perf_counter()
        subject.bundle.twin.scores(row)
        times.append(time.perf_counter() - start)
    median = float(np.median(times[_WARM_UP_RUNS:])) * 1000
    return at_most("latency", median, settings.latency_ms, "ms for one row, median")
