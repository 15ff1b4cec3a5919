"""Data sets: the built-in ones, and tables from files, checked and turned into arrays."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct
from msgspec.structs import replace
from sklearn import datasets

from training import columns
from training.addresses import is_address
from training.aside import Aside, without_aside
from training.concerns import Concern, find_concerns
from training.errors import BadInputError
from training.kinds import Column, as_frame, mixed, numeric
from training.settings import ColumnSettings, CsvSettings, Label, OutcomesSettings, Settings, Task, suggestion
from training.sources import Source, read_source
from training.tables import Table


class Dataset(Struct, frozen=True, eq=False):
    """A data set, ready to learn from.

    Attributes:
        name: A short name: the built-in data set's, or the file's stem.
        source: The built-in name, the path, or the address without its secrets.
        task: The task, by default the one that the target's type suggests.
        columns: The features, in the order of `rows`' columns.
        target: The name of the column to predict.
        rows: Shape [rows, features]: float64, or objects (float and str) if there is text. All numbers are float32
            values, except in `centred` columns. NaN and the empty text are missing values.
        truth: Shape [rows]: labels (str, int64 or bool) or float64 values.
        classes: The labels in sorted order, empty for regression.
        sha256: Hash of names, rows and truth, in hexadecimal digits.
        centred: Columns whose centre must be subtracted before float32 can hold them.
        notes: Remarks about how the data was read, in sentences.
        concerns: Remarks about single columns.
        aside: Values, shape [rows], of columns to leave out of learning: times (float64), groups (integers), weights.
        version: The version of the data according to its source; empty for built-in data and paths.
        times: The time of each row's request, in seconds since 1970, shape [rows]; for a prediction log only.
    """

    name: str
    source: str
    task: Task
    columns: tuple[Column, ...]
    target: str
    rows: np.ndarray
    truth: np.ndarray
    classes: tuple[Label, ...]
    sha256: str
    centred: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    concerns: tuple[Concern, ...] = ()
    version: str = ""
    aside: Mapping[Aside, np.ndarray] = {}
    times: np.ndarray | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes and concerns for people, in sentences that name the data."""
        return (*self.notes, *(f"{self.source}: {concern.sentence}" for concern in self.concerns))

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table with the target as its last column."""
        return _with_target(as_frame(self.columns, self.rows), self.target, self.truth)


class BuiltIn(Struct, frozen=True):
    """A data set that comes with scikit-learn, so that nothing is downloaded."""

    loader: str
    target: str
    model_name: str
    target_names: bool = True


BUILT_IN = {
    "iris": BuiltIn("load_iris", "species", "iris-classifier"),
    "wine": BuiltIn("load_wine", "cultivar", "wine-classifier"),
    "breast-cancer": BuiltIn("load_breast_cancer", "diagnosis", "breast-cancer-classifier"),
    "diabetes": BuiltIn("load_diabetes", "progression", "diabetes-regressor", target_names=False),
}


def load_dataset(  # noqa: PLR0913  (reading a table depends on all of them)
    source: str,
    target: str | None = None,
    task: Task | None = None,
    csv: CsvSettings | None = None,
    said: Mapping[str, ColumnSettings] | None = None,
    query: str | None = None,
    aside: Mapping[Aside, str] | None = None,
    *,
    outcomes: OutcomesSettings | None = None,
    exact: bool = False,
) -> Dataset:
    """Load and check a data set.

    Args:
        source: A built-in name, or a path or address for `read_source`.
        target: The column to predict; required for files.
        task: Overrides what the target's type says (a float target means regression, anything else classification).
        csv: How a CSV file is written; what it leaves out is detected.
        said: Settings of feature columns, by name; they override what the table shows.
        query: The SQL query that selects the rows, for a database.
        aside: Columns that are not learned from, by their purpose.
        outcomes: Where the truth is, if the source is a prediction log.
        exact: Keep numbers as they are. Otherwise they are rounded to float32, except in `centred` columns.

    Raises:
        BadInputError: There is no such data, or it cannot be used; a line for each column says why.
        OutageError: The source does not answer.
    """
    said = said or {}
    texts = [name for name, about in said.items() if about.kind == "category"]
    csv = csv or CsvSettings()
    if outcomes is None:
        found = _found(source, query, csv, target, texts)
    else:
        found, aside = _of_log(source, query, csv, target, texts, outcomes, aside or {})
    read, source = found.table, found.shown
    table = read.frame
    target = target or (BUILT_IN[source].target if source in BUILT_IN else None)
    if target is None:
        raise BadInputError(f"{source}: name the column to predict with --target; the columns are {_listed(table)}.")
    if target not in table.columns:
        hint = suggestion(target, table.columns)
        raise BadInputError(
            f"{source}: no column {target!r} to predict.{hint} The columns are {_listed(table)}.{_as_read(read)}"
        )
    table, set_aside = without_aside(table, target, aside or {}, source)
    said = {name: about for name, about in said.items() if name not in (aside or {}).values()}
    table = columns.without_dropped(table, target, said, source)
    if len(table.columns) < 2:
        raise BadInputError(f"{source}: no column besides the target {target!r} to predict from.{_as_read(read)}")
    examined = columns.examine(table, target, said)
    columns.refuse(examined.problems, source)
    task, truth = columns.truth(table[target], source, task)
    labels = np.unique(truth)
    if len(labels) < 2:
        raise BadInputError(
            f"{source}: column {target!r} has the same value in every row, so there is nothing to learn."
        )
    classes = tuple(labels.tolist()) if task == "classification" else ()
    features = columns.features(examined, exact=exact)
    return Dataset(
        name=found.name,
        source=source,
        task=task,
        columns=features.columns,
        target=target,
        rows=features.rows,
        truth=truth,
        classes=classes,
        sha256=_content_hash(features.columns, target, features.rows, truth, set_aside),
        centred=features.centred,
        notes=read.notes,
        concerns=find_concerns(features.columns, features.rows, truth, classes, target=target, told=texts),
        version=found.version,
        aside=set_aside,
        times=found.times,
    )


def load(settings: Settings, *, exact: bool = False) -> Dataset:
    """Return the data set that settings name; see `load_dataset`."""
    asides: dict[Aside, str | None] = {
        "time": settings.split.time, "group": settings.split.group, "weights": settings.weights,
    }  # fmt: skip
    return load_dataset(
        settings.data, settings.target, settings.task, settings.csv, settings.columns, settings.query,
        {purpose: name for purpose, name in asides.items() if name is not None},
        outcomes=settings.outcomes, exact=exact,
    )  # fmt: skip


def default_model_name(dataset: Dataset) -> str:
    """Return the registered model's name for a data set: the built-in one's, or the file's stem in lower case."""
    built_in = BUILT_IN.get(dataset.source)
    if built_in:
        return built_in.model_name
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in dataset.name).strip("._-").lower()
    if not name:
        raise BadInputError(f"{dataset.source}: the data's name cannot be a model's name; give one with --name.")
    return name[:100].rstrip("._-")


def _found(source: str, query: str | None, csv: CsvSettings, target: str | None, texts: Collection[str]) -> Source:
    if source in BUILT_IN and query is None:
        return Source(Table(_built_in_table(BUILT_IN[source])), source, source)
    if source not in BUILT_IN and not is_address(source) and not Path(source).exists():
        raise BadInputError(
            f"--data: {source!r} is neither a file nor a built-in data set "
            f"({', '.join(BUILT_IN)}).{suggestion(source, BUILT_IN)}"
        )
    return read_source(source, query, csv, target, texts)


def _of_log(
    log: str, query: str | None, csv: CsvSettings, target: str | None, texts: Collection[str],
    outcomes: OutcomesSettings, aside: Mapping[Aside, str],
) -> tuple[Source, Mapping[Aside, str]]:  # fmt: skip
    """Return the rows of a log that have a truth, or the data to use until there are enough; and the columns aside."""
    from training.outcomes.learning import LOGGED_AT, read_outcomes  # noqa: PLC0415 # nobody else joins

    if target is None:
        raise BadInputError(
            "target: name the column to predict; the truth that is joined to a prediction log gets this name."
        )
    if query is not None:
        raise BadInputError(f"query: {log} is a prediction log, not a database; outcomes.query selects the truth.")
    timed = aside.get("time") == LOGGED_AT
    found = read_outcomes(log, target, outcomes, csv, timed=timed)
    if found is not None:
        return found, aside
    assert outcomes.start is not None  # noqa: S101  (`read_outcomes` raises without a start)
    start = _found(outcomes.start, None, csv, target, texts)
    note = f"{log}: fewer than {outcomes.rows} rows have a truth, so it learns from {start.shown} (outcomes.start)."
    if timed:
        note += f" That has no {LOGGED_AT!r}, so rows are held out at random until then."
        aside = {purpose: name for purpose, name in aside.items() if purpose != "time"}
    return replace(start, table=replace(start.table, notes=(*start.table.notes, note))), aside


def _built_in_table(built_in: BuiltIn) -> pd.DataFrame:
    loader: Callable[[], Any] = getattr(datasets, built_in.loader)
    loaded = loader()
    truth = np.asarray(loaded.target_names)[loaded.target] if built_in.target_names else loaded.target
    return _with_target(pd.DataFrame(loaded.data, columns=list(loaded.feature_names)), built_in.target, truth)


def _with_target(table: pd.DataFrame, target: str, truth: np.ndarray) -> pd.DataFrame:
    # By position: as a keyword, a name such as `self` would mean something else.
    table.insert(len(table.columns), target, truth)
    return table


def _as_read(read: Table) -> str:
    """Return what was detected to read the file, for errors: a wrong guess may be their cause."""
    return "".join(f" {note}" for note in read.notes)


def _listed(table: pd.DataFrame, most: int = 20) -> str:
    names = [repr(name) for name in table.columns]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _content_hash(
    columns: tuple[Column, ...],
    target: str,
    rows: np.ndarray,
    truth: np.ndarray,
    aside: Mapping[Aside, np.ndarray],
) -> str:
    names = [column.name for column in columns]
    header = {"features": names, "target": target, "shape": rows.shape, "truth": truth.tolist()}
    digest = hashlib.sha256(msgspec.json.encode(header))
    for purpose, values in aside.items():
        digest.update(purpose.encode() + np.ascontiguousarray(values, dtype="<f8").tobytes())
    if not mixed(columns):
        digest.update(np.ascontiguousarray(rows, dtype="<f8").tobytes())
        return digest.hexdigest()
    for index, column in enumerate(columns):
        text = column.is_text
        digest.update(msgspec.json.encode(rows[:, index].tolist()) if text else numeric(rows, index).tobytes())
    return digest.hexdigest()
