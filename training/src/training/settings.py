"""What a training run can be told: defaults, a TOML or YAML file over them, flags and environment over both."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from training.errors import BadInputError

Task = Literal["classification", "regression"]
Label = str | bool | int
Scalar = bool | int | float | str | None
Fraction = Annotated[float, Meta(gt=0, lt=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
# What MLflow, a Kubernetes label and a file name all accept.
ModelName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$")]


class Directional(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Adding `step` to `feature` must not move the prediction against `direction`.

    For classification the prediction is the probability of `label` (written `class` in a file), for regression the
    predicted value. `tolerance` is the movement allowed the wrong way: a probability, or a share of the target's
    standard deviation.
    """

    feature: str
    step: Positive
    label: Label | None = msgspec.field(default=None, name="class")
    direction: Literal["up", "down"] = "up"
    tolerance: NotNegative = 1e-6


class Invariance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Adding or taking away `step` from `feature` must not move any prediction by more than `tolerance`.

    The tolerance is a probability, or a share of the target's standard deviation.
    """

    feature: str
    step: Positive
    tolerance: NotNegative


class GateSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model has to show before it is registered.

    Attributes:
        thresholds: Bounds by metric name, over the defaults of the task.
        champion_metric: The metric compared with the champion's; `f1_macro` or `r2` unless told.
        champion_margin: How much worse than the champion's figure is still good enough, in the metric's own unit.
        parity_tolerance: Largest difference between the pipeline and its ONNX twin: a probability, or a share of the
            target's standard deviation.
        latency_ms: Bound for the median time of one single-row prediction, in milliseconds.
        noise: Size of the random noise of the noise check, in standard deviations of each feature.
        confidence: Probability from which a prediction counts as confident, and noise must not flip it.
        directional: Expected directions, by feature.
        invariance: Expected insensitivities, by feature.
    """

    thresholds: dict[str, float] = {}
    champion_metric: str | None = None
    champion_margin: NotNegative = 0.02
    parity_tolerance: Positive = 1e-4
    latency_ms: Positive = 5.0
    noise: NotNegative = 1e-3
    confidence: Fraction = 0.8
    directional: list[Directional] = []
    invariance: list[Invariance] = []


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training run.

    Attributes:
        data: A built-in data set's name, or the path of a CSV or Parquet file.
        target: The column to predict; built-in data sets know theirs.
        task: Overrides what the target's type says.
        model: A model's name; the simplest one of the task unless told.
        params: Parameters of the estimator, over the model's defaults.
        name: The registered model; derived from the data unless told.
        experiment: The MLflow experiment; the registered model's name unless told.
        seed: Seeds the split, the folds and the estimator.
        test_size: The share of rows held out.
        cv: Cross-validation folds on the training rows; 0 for none.
        tracking_uri: Where MLflow is; MLflow's own default unless told.
        gate: What the model has to show.
    """

    data: Annotated[str, Meta(min_length=1)] = "iris"
    target: str | None = None
    task: Task | None = None
    model: str | None = None
    params: dict[str, Scalar] = {}
    name: ModelName | None = None
    experiment: Annotated[str, Meta(min_length=1)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 42
    test_size: Fraction = 0.25
    cv: Annotated[int, Meta(ge=0, le=50)] = 5
    tracking_uri: str | None = None
    gate: GateSettings = GateSettings()


def load_settings(
    overrides: Mapping[str, Any], config: Path | None = None, defaults: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of a run.

    Args:
        overrides: What flags and environment say, in the shape of a config file; nested tables are merged.
        config: A TOML or YAML file (by its suffix) with the same keys.
        defaults: What holds where neither says anything, in the same shape.

    Raises:
        BadInputError: The file cannot be read, or a value (wherever it came from) is not allowed.
    """
    read = _read(config) if config else {}
    if config:
        _convert(read, str(config))
    settings = _convert(_merged(_merged(defaults or {}, read), overrides), "the options")
    if settings.cv == 1:
        raise BadInputError("cv: one fold leaves nothing to train on; use 0 for no cross-validation, or 2 and more.")
    return settings


def assignments(option: str, pairs: Iterable[str]) -> dict[str, Scalar]:
    """`key=value` pairs as a mapping; a value that reads as JSON (`3`, `0.5`, `true`, `null`) is that, else a string.

    Raises:
        BadInputError: A pair has no `=`, or names a key twice.
    """
    found: dict[str, Scalar] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise BadInputError(f"--{option}: {pair!r} is not of the form key=value.")
        if key in found:
            raise BadInputError(f"--{option}: {key!r} is given twice.")
        try:
            found[key] = msgspec.json.decode(value, type=bool | int | float | None)
        except msgspec.DecodeError:
            found[key] = value
    return found


def suggestion(word: str, known: Iterable[str]) -> str:
    """` Did you mean "x"?` where a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def _read(path: Path) -> dict[str, Any]:
    decoders = {".toml": msgspec.toml.decode, ".yaml": msgspec.yaml.decode, ".yml": msgspec.yaml.decode}
    decode = decoders.get(path.suffix.lower())
    if decode is None:
        raise BadInputError(f"{path}: a config file ends in .toml, .yaml or .yml.")
    try:
        content = decode(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"{path}: the config file cannot be read ({error.strerror}).") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: not valid {path.suffix[1:].upper()}: {' '.join(str(error).split())}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: a config file holds a table of settings, not a {type(content).__name__}.")
    return content


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _convert(content: dict[str, Any], origin: str) -> Settings:
    try:
        return msgspec.convert(content, Settings)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        field = where.strip("`").removeprefix("$").lstrip(".")
        raise BadInputError(f"{origin}: {field + ': ' if field else ''}{what}.") from error
