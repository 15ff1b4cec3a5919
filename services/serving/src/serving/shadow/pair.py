"""The served version and its shadow: checks that both take the same rows, and compares their answers."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.bins import Counts
from serving.columns import Column
from serving.decoding import shown_name
from serving.errors import ModelUnusableError
from serving.labels import of_places, places
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec
from serving.warmup import rows_within

# Numbers are different answers if their difference is more than this share of the range of the answers in training.
TOLERANCE = 0.05
# Each pair of classes is a time series. Classes beyond this number are counted together.
MOST_CLASSES = 20
# The limits of one run of the shadow: its time and its rows.
_RUN_SECONDS = 0.02
_RUN_ROWS = 256

Differences = NDArray[np.float64]


class Comparison(msgspec.Struct, frozen=True, eq=False):
    """The result of comparing some rows.

    `differing` says for each row, shape [rows], whether the two versions gave different answers. `differences` has a
    number for each row that both answered, if it can be measured. `confusion` [main, shadow] counts rows by the classes
    of both, in the order of `Pair.shown`. `main_bins` and `shadow_bins` count the answers of each version in the same
    bins. Regression has no confusion, and without a baseline no bins.
    """

    agreed: int
    differed: int
    failed: int
    differences: Differences
    confusion: Counts | None
    main_bins: Counts
    shadow_bins: Counts
    differing: NDArray[np.bool_]


class Pair:
    """Compares the answers of two versions to the same rows.

    Attributes:
        main: The version that answers.
        shadow: The other version.
        most_rows: The most rows of one run of the shadow.
        shown: The names of the classes in metrics; empty for regression.

    Raises:
        ModelUnusableError: if the shadow takes other rows, or has another task.
    """

    def __init__(self, main: LoadedModel, shadow: LoadedModel) -> None:
        _check(main.spec, shadow.spec)
        self.main, self.shadow = main, shadow
        self.most_rows = max(1, min(_RUN_ROWS, rows_within(_RUN_SECONDS, shadow.pace.first, shadow.pace.further)))
        ours, theirs = (list(map(str, model.spec.classes)) for model in (main, shadow))
        labels = [*ours, *(label for label in theirs if label not in ours)]
        self.shown = tuple(labels) if len(labels) <= MOST_CLASSES else (*labels[: MOST_CLASSES - 1], "other")
        self._classes = len(labels)
        self._ours = np.array([labels.index(label) for label in ours], dtype=np.intp)
        self._theirs = np.array([labels.index(label) for label in theirs], dtype=np.intp)
        # The index of each class among the shadow's probabilities, -1 if the shadow does not know the class.
        self._columns = np.array([theirs.index(label) if label in theirs else -1 for label in labels], dtype=np.intp)
        self._graded = all(model.spec.labels != "only" for model in (main, shadow))
        prediction = main.baseline.prediction if main.baseline and not ours else None
        edges = (prediction.edges or []) if prediction else []
        self._edges = np.array(edges) if edges else None
        self._spread = edges[-1] - edges[0] if len(edges) > 1 else 0.0
        self._refusing = [
            (index, frozenset(column.categories))
            for index, column in enumerate(shadow.spec.columns)
            if column.unknown == "refuse"
        ]

    def run(self, rows: Matrix) -> Matrix:
        """Run the shadow on rows that were read for the main version."""
        model = self.shadow
        return model.runtime.run(np.require(rows, model.reader.dtype, ["C", "A"]))

    def compare(self, rows: Matrix, main: Matrix, shadow: Matrix) -> Comparison:
        """Compare two results for rows. The main version's result is finite.

        Rows without a finite answer from the shadow count as failed, and so do rows that it would refuse.
        """
        answered: NDArray[np.bool_] = np.all(np.isfinite(shadow.reshape(len(rows), -1)), axis=1)
        for index, known in self._refusing:
            answered &= np.array([value in known or value == "" for value in rows[:, index]], dtype=bool)
        if not answered.all():
            main, shadow = main[answered], shadow[answered]
        how = self._of_classes if self._classes else self._of_numbers
        return how(main, shadow, answered)

    def _of_classes(self, main: Matrix, shadow: Matrix, answered: NDArray[np.bool_]) -> Comparison:
        ours = self._ours[places(main, len(self._ours))]
        theirs = self._theirs[places(shadow, len(self._theirs))]
        differing = _among(answered, ours != theirs)
        size = len(self.shown)
        pairs = np.minimum(ours, size - 1) * size + np.minimum(theirs, size - 1)
        differences: Differences = np.empty(0)
        if self._graded:
            columns = self._columns[ours]
            found = np.where(columns < 0, 0.0, shadow[np.arange(len(shadow)), columns])
            differences = np.abs(of_places(main, len(self._ours)).astype(np.float64) - found)
        return Comparison(
            agreed=len(ours) - int(differing.sum()),
            differed=int(differing.sum()),
            failed=len(answered) - len(ours),
            differences=differences,
            confusion=np.bincount(pairs, minlength=size * size).reshape(size, size),
            main_bins=np.bincount(ours, minlength=self._classes),
            shadow_bins=np.bincount(theirs, minlength=self._classes),
            differing=differing,
        )

    def _of_numbers(self, main: Matrix, shadow: Matrix, answered: NDArray[np.bool_]) -> Comparison:
        ours, theirs = main.astype(np.float64), shadow.astype(np.float64)
        scale = self._spread or np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), np.finfo(np.float32).tiny)
        differences: Differences = np.abs(ours - theirs) / scale
        differing = _among(answered, differences > TOLERANCE)
        return Comparison(
            agreed=len(ours) - int(differing.sum()),
            differed=int(differing.sum()),
            failed=len(answered) - len(ours),
            differences=differences,
            confusion=None,
            main_bins=self._binned(ours),
            shadow_bins=self._binned(theirs),
            differing=differing,
        )

    def _binned(self, values: Differences) -> Counts:
        if self._edges is None:
            return np.zeros(0, dtype=np.int64)
        return np.bincount(np.searchsorted(self._edges, values, side="right"), minlength=len(self._edges) + 1)


def _among(answered: NDArray[np.bool_], found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return values for the answered rows at their indices among all rows."""
    placed = np.zeros(len(answered), dtype=bool)
    placed[answered] = found
    return placed


def _check(main: ModelSpec, shadow: ModelSpec) -> None:
    if main.task != shadow.task:
        raise ModelUnusableError(f"its task is {shadow.task}, but that of the model that answers is {main.task}")
    names, others = ([column.name for column in spec.columns] for spec in (main, shadow))
    if names != others:
        raise ModelUnusableError(_of_names(names, others))
    for ours, theirs in zip(main.columns, shadow.columns, strict=True):
        _check_column(ours, theirs)


def _of_names(names: list[str], others: list[str]) -> str:
    missing = [name for name in names if name not in others]
    added = [name for name in others if name not in names]
    if not missing and not added:
        return "it has the columns of the model that answers, but in another order or number"
    told = ["lacks " + ", ".join(map(shown_name, missing[:5]))] if missing else []
    told += ["has " + ", ".join(map(shown_name, added[:5])) + " besides"] if added else []
    return f"its columns differ from those of the model that answers: it {' and '.join(told)}"


def _check_column(ours: Column, theirs: Column) -> None:
    name = shown_name(ours.name)
    if ours.kind != theirs.kind:
        raise ModelUnusableError(
            f"its column {name} is of kind {theirs.kind}, but that of the model that answers is of kind {ours.kind}"
        )
    if ours.optional and not theirs.optional:
        raise ModelUnusableError(f"its column {name} is required, but that of the model that answers may be null")
