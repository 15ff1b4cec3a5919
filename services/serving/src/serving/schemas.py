"""The bodies of requests and answers. The OpenAPI document is made from the same structs."""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from modelformat.columns import Kind, Unknown
from modelformat.mlmodel import Label
from serving.columns import Value
from serving.numbers import Numbers

VersionName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9._-]{1,128}$",
        description="`latest`, a registry number, an alias, or a release tag such as v1.2.0",
    ),
]


RequestName = Annotated[
    str, Meta(pattern="^[A-Za-z0-9._-]{1,128}$", description="the id of a request, as its answer had it")
]


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row as `features`, or many as `instances`: arrays in the order of the model's columns, or objects by name."""

    features: list[Value] | dict[str, Value] | UnsetType = UNSET
    instances: list[list[Value] | dict[str, Value]] | UnsetType = UNSET
    model_version: VersionName = "latest"


class NumbersRequest(msgspec.Struct, frozen=True, eq=False):
    """A `PredictRequest` whose `instances` are rows of only numbers, shape [rows, columns].

    `by_value` parses it again as a normal request, for a model that does not accept this form.
    """

    instances: Numbers
    model_version: str
    by_value: Callable[[], PredictRequest]


class Prediction(msgspec.Struct, frozen=True):
    """The prediction for one row: the class and its probability, or for regression the number and null."""

    prediction: Label | float
    probability: Annotated[float, Meta(ge=0, le=1.001)] | None


class PredictResponse(msgspec.Struct, frozen=True):
    """The answer for one row. `latency_ms` is the time that the server spent on it, in milliseconds."""

    prediction: Label | float
    probability: Annotated[float, Meta(ge=0, le=1.001)] | None
    model_version: str
    latency_ms: Annotated[float, Meta(ge=0)]


class BatchResponse(msgspec.Struct, frozen=True):
    """The answer for many rows, in their order."""

    predictions: list[Prediction]
    model_version: str
    latency_ms: Annotated[float, Meta(ge=0)]


class WrittenBatch(msgspec.Struct, frozen=True):
    """A `BatchResponse` whose predictions are already JSON."""

    predictions: msgspec.Raw
    model_version: str
    latency_ms: float


class ExplainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows as in a `PredictRequest`. `labels` says which labels' probabilities are explained."""

    features: list[Value] | dict[str, Value] | UnsetType = UNSET
    instances: list[list[Value] | dict[str, Value]] | UnsetType = UNSET
    model_version: VersionName = "latest"
    labels: Literal["answered", "all"] = "answered"


class Contribution(msgspec.Struct, frozen=True):
    """How much one column contributes to the answer. It may be negative."""

    column: str
    contribution: float


class Explanation(msgspec.Struct, frozen=True):
    """The explanation of one number: a label's probability, or for regression (`label` is null) the prediction.

    `base` and the contributions add up to `value`. `error` is the largest standard error of the contributions, and
    0 if they are exact.
    """

    label: Label | None
    base: float
    value: float
    contributions: list[Contribution]
    error: Annotated[float, Meta(ge=0)]


class RowExplanation(msgspec.Struct, frozen=True):
    """The prediction for one row, and its explanations."""

    prediction: Label | float
    probability: Annotated[float, Meta(ge=0, le=1.001)] | None
    explained: list[Explanation]


class ExplainResponse(msgspec.Struct, frozen=True):
    """The rows in their order. `latency_ms` includes the wait for earlier requests."""

    explanations: list[RowExplanation]
    method: Literal["exact", "sampled"]
    model_version: str
    latency_ms: Annotated[float, Meta(ge=0)]


class TruthOfRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The truth of one row: `request_id` is the answer's X-Request-ID, `row` is the row's number in it, from 0.

    `row` may be left out if the request had one row. `truth` has the type of the prediction.
    """

    request_id: RequestName
    truth: Label | float
    row: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None


class FeedbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The truth of some rows."""

    feedback: Annotated[list[TruthOfRow], Meta(min_length=1)]


class FeedbackResponse(msgspec.Struct, frozen=True):
    """How many truths were accepted. A pod that is killed may lose those of the last minute."""

    accepted: int


class Live(msgspec.Struct, frozen=True):
    """The process is running."""

    status: str = "live"


class Ready(msgspec.Struct, frozen=True):
    """Every model is loaded, and the process accepts requests."""

    status: str = "ready"


class ModelHealth(msgspec.Struct, frozen=True):
    """One model: the version that `latest` means (null while it loads), and why it is not the wanted one, if so."""

    name: str
    version: str | None
    digest: str | None
    problem: str


class ShadowHealth(msgspec.Struct, frozen=True):
    """The version that the main model is compared with, and the reason if it is not compared."""

    version: str
    status: Literal["ready", "loading", "failed"]
    reason: str


class Health(msgspec.Struct, frozen=True):
    """Liveness and readiness for people. `problem` is empty if every model is served in the wanted version.

    `model_version` is that of the model that /predict uses, which is also the first of `models`. `shadow` is there if
    there is one. Readiness does not depend on it.
    """

    live: bool
    ready: bool
    draining: bool
    problem: str
    model_version: str | None
    models: list[ModelHealth]
    shadow: ShadowHealth | UnsetType = UNSET


class ColumnInfo(msgspec.Struct, frozen=True):
    """One input column: its name, MLflow's type name, its kind, and whether it may be null.

    `categories` are the texts in the training data, if they are known. `unknown` says what happens to others.
    """

    name: str
    type: str
    kind: Kind = "number"
    optional: bool = False
    categories: tuple[str, ...] = ()
    unknown: Unknown = "accept"


class Example(msgspec.Struct, frozen=True):
    """A valid body for /predict."""

    features: list[Value]


class ModelInfo(msgspec.Struct, frozen=True):
    """The model that /predict uses, in the version that `latest` means.

    `loaded_versions` are all versions in memory. If a newer version is not served, `problem` says why.
    """

    name: str
    version: str
    digest: str
    release: str
    mode: str
    stage: str | None
    runtime: str
    task: str
    target: str
    classes: list[Label]
    inputs: list[ColumnInfo]
    input_example: Example
    loaded_versions: list[str]
    problem: str


class ProblemField(msgspec.Struct, frozen=True):
    """One problem of the request: the field, such as `features[2]`, and the reason."""

    field: str
    reason: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error in the form of RFC 9457 (application/problem+json)."""

    title: str
    status: int
    detail: str
    request_id: str = ""
    errors: tuple[ProblemField, ...] = ()
    type: str = "about:blank"


class InferenceError(msgspec.Struct, frozen=True):
    """An error in the form of the Open Inference Protocol."""

    error: str


class InvocationError(msgspec.Struct, frozen=True):
    """An error in the form of MLflow's scoring server."""

    error_code: str
    message: str


class ServerLive(msgspec.Struct, frozen=True):
    """The process is running."""

    live: bool = True


class ServerReady(msgspec.Struct, frozen=True):
    """Every model is loaded, and the process accepts requests."""

    ready: bool = True


class ModelReady(msgspec.Struct, frozen=True):
    """The model, or this version of it, is loaded."""

    name: str
    ready: bool = True


class ServerMetadata(msgspec.Struct, frozen=True):
    """The name and version of this server, and the protocol's extensions that it supports."""

    name: str
    version: str
    extensions: list[str]
