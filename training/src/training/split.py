"""Split a data set into training rows and held-out rows."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    StratifiedGroupKFold,
    TimeSeriesSplit,
    train_test_split,
)
from sklearn.utils.class_weight import compute_sample_weight

from training.data import Dataset
from training.errors import BadInputError

MIN_HELD_OUT = 5
MIN_TRAINING = 10
ClassWeights = Literal["balanced"] | Mapping[str, float]
Folds = Sequence[tuple[np.ndarray, np.ndarray]]


class Split(Struct, frozen=True, eq=False):
    """Training rows and held-out rows; arrays as in `Dataset`.

    `folds` are pairs of positions in the training rows (to learn from, to judge on), if folds are not random.
    `train_weights` are the weights of the training rows, if they differ. `test_times` are the times of the held-out
    rows, in seconds since 1970, if the data has them.
    """

    train_rows: np.ndarray
    train_truth: np.ndarray
    test_rows: np.ndarray
    test_truth: np.ndarray
    folds: Folds = ()
    train_weights: np.ndarray | None = None
    test_times: np.ndarray | None = None


def split_dataset(
    dataset: Dataset, *, seed: int, test_size: float, folds: int = 0, class_weights: ClassWeights | None = None
) -> Split:
    """Split a data set by its times or groups, or at random; for classification, with equal shares of every class.

    Args:
        dataset: What to split.
        seed: The same seed gives the same split.
        test_size: The share of rows held out, between 0 and 1.
        folds: The number of cross-validation folds, for which there must be enough training rows.
        class_weights: The weight of each class's rows, by the label's text.

    Raises:
        BadInputError: There are too few rows, in total or of a class.
    """
    held_out = int(np.ceil(len(dataset.rows) * test_size))
    if held_out < MIN_HELD_OUT or len(dataset.rows) - held_out < max(MIN_TRAINING, 2 * folds):
        raise BadInputError(
            f"{dataset.source}: {len(dataset.rows)} rows are too few to hold out {test_size:.0%}: at least "
            f"{MIN_HELD_OUT} to test on and {max(MIN_TRAINING, 2 * folds)} to learn from are needed."
        )
    if dataset.classes:
        _refuse_rare_classes(dataset, held_out, max(folds, 1))
    train, test = _cut(dataset, held_out, seed)
    if min(len(train) - MIN_TRAINING, len(test) - MIN_HELD_OUT) < 0:
        raise BadInputError(
            f"{dataset.source}: split by {_by(dataset)} leaves {len(train)} rows to learn from and {len(test)} held "
            "out; there are too few different values."
        )
    if dataset.classes:
        _refuse_missing_classes(dataset, dataset.truth[train], dataset.truth[test], max(folds, 1))
    truth = dataset.truth[train]
    return Split(
        dataset.rows[train],
        truth,
        dataset.rows[test],
        dataset.truth[test],
        _folds(dataset, train, folds, seed),
        _weights(dataset, train, class_weights),
        None if dataset.times is None else dataset.times[test],
    )


def _cut(dataset: Dataset, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the training rows and of the held-out rows."""
    every = np.arange(len(dataset.rows))
    if "time" in dataset.aside:
        times = dataset.aside["time"]
        # Rows with the same time stay together.
        first = np.sort(times)[-held_out]
        order = np.argsort(times, kind="stable")
        return order[times[order] < first], order[times[order] >= first]
    if "group" in dataset.aside:
        groups = dataset.aside["group"]
        if len(np.unique(groups)) < 2:
            raise BadInputError(f"{dataset.source}: split.group names a column with the same value in every row.")
        cutter = GroupShuffleSplit(n_splits=1, test_size=held_out / len(every), random_state=seed)
        try:
            return next(cutter.split(every, groups=groups))  # type: ignore[no-any-return]
        except ValueError as error:
            raise BadInputError(
                f"{dataset.source}: {len(np.unique(groups))} groups are too few to hold out a share of "
                f"{held_out / len(every):.2g} of them and learn from the others; lower test_size (--test-size)."
            ) from error
    train, test = train_test_split(
        every, test_size=held_out, random_state=seed, stratify=dataset.truth if dataset.classes else None
    )
    return train, test


def _folds(dataset: Dataset, train: np.ndarray, count: int, seed: int) -> Folds:
    if not count or not {"time", "group"} & dataset.aside.keys():
        return ()
    truth = dataset.truth[train]
    if "time" in dataset.aside:
        # `train` is in the order of time.
        pairs = list(TimeSeriesSplit(n_splits=count).split(train))
    else:
        groups = dataset.aside["group"][train]
        if len(np.unique(groups)) < count:
            raise BadInputError(
                f"{dataset.source}: {len(np.unique(groups))} groups are too few for {count} folds (--cv)."
            )
        kind = StratifiedGroupKFold if dataset.classes else GroupKFold
        pairs = list(kind(n_splits=count, shuffle=True, random_state=seed).split(train, truth, groups))
    for number, (learnt, _) in enumerate(pairs, start=1):
        absent = sorted(set(dataset.classes) - set(truth[learnt].tolist()), key=str)
        if absent:
            raise BadInputError(
                f"{dataset.source}: fold {number} of {count} by {_by(dataset)} has no row of class {absent[0]!r} to "
                "learn from; lower --cv, or use 0 for none."
            )
    return pairs


def _weights(dataset: Dataset, train: np.ndarray, classes: ClassWeights | None) -> np.ndarray | None:
    if classes is None and "weights" not in dataset.aside:
        return None
    weights = np.ones(len(train))
    if "weights" in dataset.aside:
        weights = dataset.aside["weights"][train]
    if classes is not None:
        if not dataset.classes:
            raise BadInputError("class_weights: a regression has no classes; leave it out.")
        truth = np.searchsorted(np.asarray(dataset.classes), dataset.truth[train])
        by_place = classes if classes == "balanced" else _by_place(dataset, classes)
        weights = weights * compute_sample_weight(by_place, truth)
    if not weights.any():
        raise BadInputError(f"{dataset.source}: all training rows have the weight zero.")
    return np.asarray(weights / weights.mean())


def _by_place(dataset: Dataset, classes: Mapping[str, float] | str) -> dict[int, float]:
    assert not isinstance(classes, str)  # noqa: S101 # `balanced` has no weights by class
    names = [str(label) for label in dataset.classes]
    for name in classes:
        if name not in names:
            raise BadInputError(f"class_weights: {dataset.source} has no class {name!r}; there are {', '.join(names)}.")
    return {place: float(classes.get(name, 1.0)) for place, name in enumerate(names)}


def _by(dataset: Dataset) -> str:
    return "time" if "time" in dataset.aside else "group" if "group" in dataset.aside else "chance"


def _refuse_rare_classes(dataset: Dataset, held_out: int, least_training: int) -> None:
    labels, counts = np.unique(dataset.truth, return_counts=True)
    rarest = int(counts.argmin())
    if counts[rarest] < least_training + 1 or len(labels) > held_out:
        raise BadInputError(_too_rare(dataset, labels[rarest].item(), int(counts[rarest])))


def _refuse_missing_classes(dataset: Dataset, train: np.ndarray, test: np.ndarray, least_training: int) -> None:
    for label in dataset.classes:
        if (test == label).sum() < 1 or (train == label).sum() < least_training:
            raise BadInputError(_too_rare(dataset, label, int((dataset.truth == label).sum())))


def _too_rare(dataset: Dataset, label: object, count: int) -> str:
    way_out = "" if isinstance(label, str | bool) else " (or use --task regression)"
    return (
        f"{dataset.source}: class {label!r} of column {dataset.target!r} has {count} row{'' if count == 1 else 's'}, "
        "too few for the training rows, every fold and the held-out rows; collect more, drop the class or lower --cv"
        f"{way_out}."
    )
