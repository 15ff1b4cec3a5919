"""Cutting a data set into rows to learn from and rows held out."""

import numpy as np
from msgspec import Struct
from sklearn.model_selection import train_test_split

from training.data import Dataset
from training.errors import BadInputError

MIN_HELD_OUT = 5
MIN_TRAINING = 10


class Split(Struct, frozen=True, eq=False):
    """Training and held-out rows; arrays as in `Dataset`."""

    train_rows: np.ndarray
    train_truth: np.ndarray
    test_rows: np.ndarray
    test_truth: np.ndarray


def split_dataset(dataset: Dataset, *, seed: int, test_size: float, folds: int = 0) -> Split:
    """Split a data set, for classification with every class in the same share on both sides.

    Args:
        dataset: What to split.
        seed: The same seed gives the same split.
        test_size: The share of rows held out, between 0 and 1.
        folds: Cross-validation folds that the training rows have to be enough for.

    Raises:
        BadInputError: There are too few rows, in all or of one class.
    """
    held_out = int(np.ceil(len(dataset.rows) * test_size))
    if held_out < MIN_HELD_OUT or len(dataset.rows) - held_out < max(MIN_TRAINING, 2 * folds):
        raise BadInputError(
            f"{dataset.source}: {len(dataset.rows)} rows are too few to hold out {test_size:.0%}: at least "
            f"{MIN_HELD_OUT} to test on and {max(MIN_TRAINING, 2 * folds)} to learn from are needed."
        )
    if dataset.classes:
        _refuse_rare_classes(dataset, held_out, max(folds, 1))
    train_rows, test_rows, train_truth, test_truth = train_test_split(
        dataset.rows,
        dataset.truth,
        test_size=held_out,
        random_state=seed,
        stratify=dataset.truth if dataset.classes else None,
    )
    if dataset.classes:
        _refuse_missing_classes(dataset, train_truth, test_truth, max(folds, 1))
    return Split(train_rows, train_truth, test_rows, test_truth)


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
        f"{dataset.source}: class {label!r} of column {dataset.target!r} has {count} "
        f"row{'' if count == 1 else 's'}, too few to have it among the training rows, in every fold and among the "
        f"held-out rows; collect more, drop the class or lower --cv{way_out}."
    )
