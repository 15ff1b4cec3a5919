"""The command line's options, in groups that commands share."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from training.settings import Task, assignments

Json = Annotated[bool, Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Where MLflow is."""

    tracking_uri: Annotated[str | None, Parameter(env_var="MLFLOW_TRACKING_URI")] = None
    """Address of MLflow: http(s)://, sqlite:///file. MLflow's own default is sqlite:///mlflow.db."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What to learn from, and which rows to hold out."""

    data: str | None = None
    """iris, wine, breast-cancer, diabetes; the path of a CSV or Parquet file; s3://, https:// or a database's address.
    [default: iris]"""
    query: str | None = None
    """The statement that gives the rows of a database."""
    target: str | None = None
    """The column to predict; a must for files."""
    task: Task | None = None
    """Overrides what the target's type says: floats are regression, anything else classification."""
    seed: int | None = None
    """Seeds split, folds and estimator. [default: 42]"""
    test_size: float | None = None
    """The share of rows held out. [default: 0.25]"""
    csv_separator: str | None = None
    """The character between fields of a CSV file. [default: recognised]"""
    csv_decimal: str | None = None
    """The decimal sign of a CSV file. [default: recognised]"""
    csv_missing: Annotated[list[str] | None, Parameter(negative="")] = None
    """A text that stands for a missing value in a CSV file; repeatable. [default: NA and its like, among numbers]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FormGateOptions:
    """What a model has to show that was made elsewhere."""

    threshold: Annotated[list[str] | None, Parameter(negative="")] = None
    """A bound for a metric as metric=value; repeatable."""
    parity_tolerance: float | None = None
    """Largest difference between the model and its stored form. [default: 0.0001]"""
    latency_ms: float | None = None
    """Bound for the median time of one single-row prediction, in ms. [default: 5]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What the model has to show."""

    threshold: Annotated[list[str] | None, Parameter(negative="")] = None
    """A bound for a metric as metric=value, over the task's defaults; repeatable."""
    champion_metric: str | None = None
    """The metric compared with the champion's. [default: f1_macro, or r2 for regression]"""
    champion_margin: float | None = None
    """How much worse than the champion is still good enough. [default: 0.02]"""
    parity_tolerance: float | None = None
    """Largest difference between the pipeline and its ONNX twin. [default: 0.0001]"""
    latency_ms: float | None = None
    """Bound for the median time of one single-row prediction, in ms. [default: 5]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What to train, and what to call it."""

    model: str | None = None
    """logistic-regression, ridge, random-forest, extra-trees, hist-gradient-boosting, lightgbm, xgboost, catboost,
    quantile or quantile-boosting. [default: the task's first]"""
    param: Annotated[list[str] | None, Parameter(negative="")] = None
    """A parameter of the estimator as key=value; repeatable."""
    cv: int | None = None
    """Cross-validation folds on the training rows, 0 for none. [default: 5]"""
    name: str | None = None
    """The registered model's name. [default: from the data, as in iris-classifier]"""
    experiment: str | None = None
    """The MLflow experiment. [default: the registered model's name]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegisterOptions:
    """What a model from elsewhere is tried with, and how it is opened."""

    data: str | None = None
    """Rows as the model takes them, with the target: the path of a CSV or Parquet file."""
    target: str | None = None
    """The column that it predicts."""
    task: Task | None = None
    """What the model does, where you want that checked; it says so by itself."""
    csv_separator: str | None = None
    """The character between fields of a CSV file. [default: recognised]"""
    csv_decimal: str | None = None
    """The decimal sign of a CSV file. [default: recognised]"""
    csv_missing: Annotated[list[str] | None, Parameter(negative="")] = None
    """A text that stands for a missing value in a CSV file; repeatable. [default: NA and its like, among numbers]"""
    name: str | None = None
    """The registered model's name. [default: the one that MODEL is a version of, else from the data]"""
    experiment: str | None = None
    """The MLflow experiment. [default: the registered model's name]"""
    trust_pickle: Annotated[bool, Parameter(negative="")] = False
    """Open a pickle (cloudpickle, joblib), which can run any code of whoever made it: I trust them."""
    dry_run: Annotated[bool, Parameter(negative="")] = False
    """Do all but record and register."""
    seconds: float = 600.0
    """How long opening and asking the model may take."""
    memory_mb: int = 4096
    """How much memory that may take, in MiB."""

    def data_options(self) -> DataOptions:
        """What says how the data is read."""
        return DataOptions(
            data=self.data,
            target=self.target,
            task=self.task,
            csv_separator=self.csv_separator,
            csv_decimal=self.csv_decimal,
            csv_missing=self.csv_missing,
        )

    def named(self) -> dict[str, Any]:
        """Names that were given."""
        given = {"name": self.name, "experiment": self.experiment}
        return {name: value for name, value in given.items() if value is not None}

    def taking(self) -> dict[str, Any]:
        """How the model is opened."""
        return {name: getattr(self, name) for name in ("trust_pickle", "dry_run", "seconds", "memory_mb")}


def overrides(*groups: TrackingOptions | DataOptions | GateOptions | FormGateOptions | ModelOptions) -> dict[str, Any]:
    """What was given, in the shape of a config file.

    Raises:
        BadInputError: A repeatable option is not of the form key=value.
    """
    given: dict[str, Any] = {}
    for group in groups:
        values = {name: value for name, value in vars(group).items() if value is not None}
        if "param" in values:
            values["params"] = assignments("param", values.pop("param"))
        if "threshold" in values:
            values["thresholds"] = assignments("threshold", values.pop("threshold"))
        if isinstance(group, DataOptions):
            values = _nested(values, "csv")
        if isinstance(group, GateOptions | FormGateOptions):
            values = {"gate": values} if values else {}
        given |= values
    return given


def _nested(values: dict[str, Any], table: str) -> dict[str, Any]:
    """Have `TABLE_KEY` as KEY of a table of its own."""
    prefix = f"{table}_"
    inner = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    rest = {name: value for name, value in values.items() if not name.startswith(prefix)}
    return rest | ({table: inner} if inner else {})


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """How files are scored; `serving score --help` tells the defaults."""

    format: str | None = None
    """How answers are written: parquet or csv."""
    keep: str | None = None
    """The input's columns that stand beside the answers: all, none, or names between commas."""
    csv_separator: str | None = None
    """The character between fields of CSV files."""
    max_rejected: float | None = None
    """The share of a file's rows that may be rejected; with more it fails."""
    shards: int | None = None
    """How many processes share the files."""
    shard: int | None = None
    """The number of this one, from 0 on."""

    def flags(self) -> list[str]:
        """What was given, as the flags of `serving score`."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
