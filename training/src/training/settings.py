"""The settings of a training run: defaults, overridden by a training.yaml, and then by flags and environment."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from modelformat import columns, mlmodel, tags
from training.errors import BadInputError

_Struct = TypeVar("_Struct", bound=Struct)
Task = mlmodel.Task
Strictness = Literal["refuse", "warn"]
Kind = columns.Kind
Unknown = columns.Unknown
Label = mlmodel.Label
Scalar = bool | int | float | str | None
Fraction = Annotated[float, Meta(gt=0, lt=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
# A name that MLflow, a Kubernetes label and a file name all accept.
ModelName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$")]

# A name that MLflow accepts as an alias.
Alias = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$")]


class Directional(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Adding `step` to `feature` must not move the prediction against `direction`.

    Attributes:
        feature: The column whose value rises.
        step: By how much, in the column's own unit.
        label: The class whose probability is checked (written `class` in a file); a regression has none.
        direction: The direction in which the prediction should move.
        tolerance: How far it may move the wrong way: a probability, or a share of the target's standard deviation.
    """

    feature: str
    step: Positive
    label: Label | None = msgspec.field(default=None, name="class")
    direction: Literal["up", "down"] = "up"
    tolerance: NotNegative = 1e-6


class Invariance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Adding `step` to `feature`, or subtracting it, must not move any prediction by more than `tolerance`.

    Attributes:
        feature: The column whose value moves.
        step: By how much, in the column's own unit.
        tolerance: A probability, or a share of the target's standard deviation.
    """

    feature: str
    step: Positive
    tolerance: NotNegative


class GateSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model must achieve before it is registered.

    Attributes:
        thresholds: Thresholds by metric name; they override the task's defaults.
        champion: The alias of the version to compare a new one with, which is the name of an environment.
        champion_metric: The metric to compare with the champion's; by default `f1_macro`, or `r2` for regression.
        champion_margin: How much worse than the champion the model may be, in the metric's unit.
        parity_tolerance: The largest allowed difference between the pipeline and its ONNX form: a probability, or a
            share of the target's standard deviation.
        latency_ms: The largest allowed median time of a single-row prediction, in milliseconds.
        noise: Size of the random noise of the noise check, in standard deviations of each feature.
        confidence: The probability from which a prediction counts as confident; noise must not flip confident
            predictions.
        directional: Expected directions, by feature.
        invariance: Expected insensitivities, by feature.
        columns: Whether the gate refuses columns that a model should not learn from (row numbers, copies of the
            target, constants, whole numbers that float32 cannot hold), or only reports them.
        duplicates: Whether the gate refuses a model if more than 1 % of the held-out rows are equal to a training
            row, or only reports it.
        classes: Whether the gate refuses a model that never predicts one of its classes on the held-out rows, or
            only reports it.
    """

    thresholds: dict[str, float] = {}
    champion: Alias = tags.CHAMPION
    champion_metric: str | None = None
    champion_margin: NotNegative = 0.02
    parity_tolerance: Positive = 1e-4
    latency_ms: Positive = 5.0
    noise: NotNegative = 1e-3
    confidence: Fraction = 0.8
    directional: list[Directional] = []
    invariance: list[Invariance] = []
    columns: Strictness = "warn"
    duplicates: Strictness = "warn"
    classes: Strictness = "refuse"


class CsvSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a CSV file is written.

    Attributes:
        separator: The field separator; by default detected (comma, semicolon, tab or bar).
        decimal: The decimal separator; by default detected.
        missing: Texts that mean a missing value, besides the empty cell. By default, the usual ones (NA, NaN, None,
            null and similar) mean it in columns of numbers; in other columns they are ordinary text.
        encoding: The text encoding, by its name in Python; by default detected: UTF-8, UTF-16 if the file has its
            byte order mark, else cp1252.
    """

    separator: Annotated[str, Meta(min_length=1, max_length=1)] | None = None
    decimal: Literal[".", ","] | None = None
    missing: list[str] | None = None
    encoding: Annotated[str, Meta(min_length=1)] | None = None


class ColumnSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Facts about a feature column that the table does not show, or that override what it shows.

    Attributes:
        kind: What its values are: `number`, `integer`, `boolean`, `category` (text) or `datetime`; by default as in
            the table.
        optional: Whether a value may be missing; by default yes if the column has gaps in the table.
        unknown: For a category: whether texts that the table does not have are accepted or refused.
        sensitive: Whether the prediction log must not keep its values.
        drop: Whether the column is left out.
    """

    kind: Kind | None = None
    optional: bool | None = None
    unknown: Unknown | None = None
    sensitive: bool = False
    drop: bool = False


class SplitSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which rows are held out together; the model does not learn from a column that is named here.

    Attributes:
        time: A column of times or numbers: the last rows by it are held out, and folds go forward in time.
        group: A column of any kind: rows with the same value are either all held out, or all used for training.
    """

    time: str | None = None
    group: str | None = None


class Range(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A range of numbers to try; whole numbers if both bounds are whole.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether to draw the numbers on a logarithmic scale.
    """

    low: int | float
    high: int | float
    log: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm; it has to be above 0")


class SearchSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search for parameters by cross-validation on the training rows; what it finds overrides `params` of the model.

    Attributes:
        params: What to try for each parameter: a list of values, or a range `{low, high, log}`.
        trials: The most sets of parameters to try.
        seconds: How long new trials may start; a trial that is running then is finished.
        metric: The metric that the search compares; by default that of the champion.
    """

    params: Annotated[dict[str, Annotated[list[Scalar], Meta(min_length=1)] | Range], Meta(min_length=1)]
    trials: Annotated[int, Meta(ge=1, le=1000)] = 20
    seconds: Positive = 600
    metric: str | None = None


class OutcomesSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The truth, if `data` is a prediction log: the model learns from the rows that have a truth.

    Attributes:
        truth: Tables of truth: each a path, s3://, https://, or a database's address with `query`. The truth that
            callers sent to the service (`POST /feedback`) always counts too.
        query: The SQL query that selects the rows, if the truth is in a database.
        id: The column with the request's id.
        row: The column with the row's number in its request, from 0; it may be absent if requests have one row.
        column: The column with the truth.
        days: How many days of the log are read, including today; all of them by default.
        rows: The number of rows that must have a truth before the model learns from the log.
        start: The data to learn from until then; without it, a run is refused until then.
    """

    truth: list[Annotated[str, Meta(min_length=1)]] = []
    query: str | None = None
    id: str = "request_id"
    row: str = "row"
    column: str = "truth"
    days: Annotated[int, Meta(ge=1)] | None = None
    rows: Annotated[int, Meta(ge=1)] = 100
    start: Annotated[str, Meta(min_length=1)] | None = None


class Learning(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run learns, and how; a model's file says the same by the same names.

    Attributes:
        query: The SQL query that selects the rows, if `data` is a database.
        target: The column to predict; not needed for built-in data sets.
        outcomes: The truth, if `data` is a prediction log, such as s3://predictions/ENVIRONMENT/SERVICE.
        csv: How to read the data, if it is a CSV file.
        columns: Facts about single feature columns, by name.
        split: Which rows are held out together; by default at random.
        weights: A column with the weight of each row in training; the model does not learn from it.
        class_weights: An additional weight for the rows of each class, by label; `balanced` gives all classes the
            same total weight.
        search: A search for parameters.
        task: Overrides the task that follows from the target's type.
        model: The estimator's name; by default the simplest one for the task.
        params: Parameters of the estimator; they override the model's defaults.
        experiment: The MLflow experiment; by default the registered model's name.
        seed: The random seed of split, folds and estimator.
        test_size: The share of rows to hold out.
        cv: The number of cross-validation folds on the training rows; 0 for none.
        gate: What the model must achieve.
    """

    query: str | None = None
    target: str | None = None
    outcomes: OutcomesSettings | None = None
    csv: CsvSettings = CsvSettings()
    columns: dict[str, ColumnSettings] = {}
    split: SplitSettings = SplitSettings()
    weights: str | None = None
    class_weights: Literal["balanced"] | dict[str, NotNegative] | None = None
    search: SearchSettings | None = None
    task: Task | None = None
    model: str | None = None
    params: dict[str, Scalar] = {}
    experiment: Annotated[str, Meta(min_length=1)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 42
    test_size: Fraction = 0.25
    cv: Annotated[int, Meta(ge=0, le=50)] = 5
    gate: GateSettings = GateSettings()


class Settings(Learning, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training run.

    Attributes:
        data: A built-in data set's name, the path of a CSV or Parquet file or of a folder of the latter, or an address.
        name: The registered model; by default made from the data's name.
        code: The path of the model's own code, if its folder has any.
        readme: The path of the text that its owner wrote for the model card.
        tracking_uri: Where MLflow is; by default MLflow's own default.
    """

    data: Annotated[str, Meta(min_length=1)] = "iris"
    name: ModelName | None = None
    code: str | None = None
    readme: str | None = None
    tracking_uri: str | None = None


def refuse_one_fold(settings: Learning, origin: str = "") -> None:
    """Refuse a single fold, which leaves nothing to train on.

    Raises:
        BadInputError: `cv` is 1.
    """
    if settings.cv == 1:
        raise BadInputError(
            f"{origin}cv: one fold leaves nothing to train on; use 0 for no cross-validation, or at least 2."
        )


def assignments(option: str, pairs: Iterable[str]) -> dict[str, Scalar]:
    """Return pairs as `texts` does, but decode a value that is JSON (`3`, `0.5`, `true`, `null`)."""
    return {key: _scalar(value) for key, value in texts(option, pairs).items()}


def _scalar(text: str) -> Scalar:
    try:
        return msgspec.json.decode(text, type=bool | int | float | None)
    except msgspec.DecodeError:
        return text


def texts(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """Return `key=value` pairs as a mapping.

    Raises:
        BadInputError: A pair has no `=`, or names a key twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise BadInputError(f"--{option}: {pair!r} is not of the form key=value.")
        if key in found:
            raise BadInputError(f"--{option}: {key!r} is given twice.")
        found[key] = value
    return found


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean "x"?` if a known word is similar, or an empty text."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested mapping with another one over it."""
    found = dict(base)
    for key, value in over.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return found


def converted(content: Mapping[str, Any], kind: type[_Struct], origin: str) -> _Struct:
    """Convert a mapping to a struct.

    Raises:
        BadInputError: A value is not allowed; the sentence names the field.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        field = where.strip("`").removeprefix("$").lstrip(".")
        raise BadInputError(f"{origin}: {field + ': ' if field else ''}{what}.") from error
