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
    """iris, wine, breast-cancer or diabetes; the path of a CSV or Parquet file; an s3://, https:// or database address.
    [default: iris]"""
    query: str | None = None
    """The SQL query that selects the rows of a database."""
    target: str | None = None
    """The column to predict; required for files."""
    task: Task | None = None
    """Overrides the task that follows from the target's type: regression for floats, classification for all others."""
    seed: int | None = None
    """The random seed of split, folds and estimator. [default: 42]"""
    test_size: float | None = None
    """The share of rows to hold out. [default: 0.25]"""
    csv_separator: str | None = None
    """The field separator of a CSV file. [default: detected]"""
    csv_decimal: str | None = None
    """The decimal separator of a CSV file. [default: detected]"""
    csv_missing: Annotated[list[str] | None, Parameter(negative="")] = None
    """A text that means a missing value in a CSV file; repeatable. [default: NA and similar texts, among numbers]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FormGateOptions:
    """What a model that was made elsewhere must achieve."""

    threshold: Annotated[list[str] | None, Parameter(negative="")] = None
    """A threshold for a metric, as metric=value; repeatable."""
    parity_tolerance: float | None = None
    """The largest allowed difference between the model and its stored form. [default: 0.0001]"""
    latency_ms: float | None = None
    """The largest allowed median time of a single-row prediction, in ms. [default: 5]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What the model must achieve."""

    threshold: Annotated[list[str] | None, Parameter(negative="")] = None
    """A threshold for a metric, as metric=value; overrides the task's default; repeatable."""
    champion_metric: str | None = None
    """The metric to compare with the champion's. [default: f1_macro, or r2 for regression]"""
    champion_margin: float | None = None
    """How much worse than the champion the model may be. [default: 0.02]"""
    parity_tolerance: float | None = None
    """The largest allowed difference between the pipeline and its ONNX form. [default: 0.0001]"""
    latency_ms: float | None = None
    """The largest allowed median time of a single-row prediction, in ms. [default: 5]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What to train, and what to call it."""

    model: str | None = None
    """logistic-regression, ridge, random-forest, extra-trees, hist-gradient-boosting, lightgbm, xgboost, catboost,
    quantile or quantile-boosting. [default: the task's first]"""
    param: Annotated[list[str] | None, Parameter(negative="")] = None
    """A parameter of the estimator, as key=value; repeatable."""
    cv: int | None = None
    """The number of cross-validation folds on the training rows; 0 for none. [default: 5]"""
    name: str | None = None
    """The registered model's name. [default: made from the data's name, such as iris-classifier]"""
    experiment: str | None = None
    """The MLflow experiment. [default: the registered model's name]"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegisterOptions:
    """The data to test a model from elsewhere with, and how the model is opened."""

    data: str | None = None
    """The path of a CSV or Parquet file with the columns that the model takes, and the target."""
    target: str | None = None
    """The column that the model predicts."""
    task: Task | None = None
    """The task that you expect of the model; the command refuses a model with another task."""
    csv_separator: str | None = None
    """The field separator of a CSV file. [default: detected]"""
    csv_decimal: str | None = None
    """The decimal separator of a CSV file. [default: detected]"""
    csv_missing: Annotated[list[str] | None, Parameter(negative="")] = None
    """A text that means a missing value in a CSV file; repeatable. [default: NA and similar texts, among numbers]"""
    name: str | None = None
    """The registered model's name. [default: the name that MODEL is registered under, else made from the data's
    name]"""
    experiment: str | None = None
    """The MLflow experiment. [default: the registered model's name]"""
    trust_pickle: Annotated[bool, Parameter(negative="")] = False
    """Allow opening a pickle (cloudpickle, joblib). A pickle can run any code: use this only if you trust its
    author."""
    dry_run: Annotated[bool, Parameter(negative="")] = False
    """Do everything except recording and registering."""
    seconds: float = 600.0
    """How many seconds opening the model and predicting the rows may take."""
    memory_mb: int = 4096
    """How much memory this may use, in MiB."""
    threads: int = 512
    """How many processes and threads this may have at once."""

    def data_options(self) -> DataOptions:
        """Return the options that say how the data is read."""
        return DataOptions(
            data=self.data,
            target=self.target,
            task=self.task,
            csv_separator=self.csv_separator,
            csv_decimal=self.csv_decimal,
            csv_missing=self.csv_missing,
        )

    def named(self) -> dict[str, Any]:
        """Return the names that were given."""
        given = {"name": self.name, "experiment": self.experiment}
        return {name: value for name, value in given.items() if value is not None}

    def taking(self) -> dict[str, Any]:
        """Return the options that say how the model is opened."""
        return {name: getattr(self, name) for name in ("trust_pickle", "dry_run", "seconds", "memory_mb", "threads")}


def overrides(*groups: TrackingOptions | DataOptions | GateOptions | FormGateOptions | ModelOptions) -> dict[str, Any]:
    """Return the options that were given, in the shape of a config file.

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
    """Move each `TABLE_KEY` to the KEY of a nested table."""
    prefix = f"{table}_"
    inner = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    rest = {name: value for name, value in values.items() if not name.startswith(prefix)}
    return rest | ({table: inner} if inner else {})


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """How files are scored; `serving score --help` shows the defaults."""

    format: str | None = None
    """The format of the answers: parquet or csv."""
    keep: str | None = None
    """The input's columns to write together with the answers: all, none, or names separated by commas."""
    csv_separator: str | None = None
    """The field separator of CSV files."""
    max_rejected: float | None = None
    """The share of a file's rows that may be rejected; a file with more fails."""
    shards: int | None = None
    """How many processes share the files."""
    shard: int | None = None
    """The number of this process, from 0."""

    def flags(self) -> list[str]:
        """Return the options that were given, as flags of `serving score`."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
