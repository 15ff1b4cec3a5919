"""Every setting of the server and of its smoke test, from environment variables."""

from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from modelformat.digest import PATTERN

Seconds = Annotated[float, Meta(ge=0.05, le=3600)]

URI_SCHEMES = ("s3", "mlflow-artifacts", "file")

_HTTP = r"^https?://[^\s]+$"
_NAME = r"^[^/:'\"`\s]+$"
_NUMBER = r"^([1-9][0-9]{0,17})?$"
_RELEASE = r"^(v[0-9]+\.[0-9]+\.[0-9]+)?$"
_DIGEST = rf"^({PATTERN})?$"

TrackingUri = Annotated[str, Meta(pattern=_HTTP, description="address of MLflow")]
CertFile = Annotated[
    str,
    Meta(description="a PEM file of the authorities to trust for MLflow and S3, instead of the system's"),
]
ModelName = Annotated[str, Meta(pattern=_NAME, description="the registered model to serve")]
Stage = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]+$",
        description="the alias to follow if no version is pinned; tried as written, then in lower case",
    ),
]
Pin = Annotated[
    str, Meta(pattern=_NUMBER, description="a registry number: serve only this version (overrides the stage)")
]
Digest = Annotated[str, Meta(pattern=_DIGEST, description="content digest that the pinned version must have")]
Uri = Annotated[str, Meta(description="address of the pinned version's files; with the digest, MLflow is not needed")]
Release = Annotated[
    str,
    Meta(pattern=_RELEASE, description="the pinned version's release, such as v1.2.0, for model_version in answers"),
]


class WantedModel(msgspec.Struct, frozen=True):
    """A registered model to serve, and which of its versions: the one that an alias points to, or a pinned one."""

    name: ModelName = ""
    stage: Stage = ""
    version: Pin = ""
    digest: Digest = ""
    uri: Uri = ""
    release: Release = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is missing: say which registered model to serve")
        if self.stage and self.version:
            raise ValueError("stage names an alias to follow, but version is a pin: give only one of them")
        _check_pin(self.version, self.digest, self.uri, self.release, str)


def _check_pin(version: str, digest: str, uri: str, release: str, named: Callable[[str], str]) -> None:
    """Refuse settings that contradict each other. `named` returns the name of a setting such as `uri`."""
    if not version and (uri or digest or release):
        which = named("uri" if uri else "digest" if digest else "release")
        raise ValueError(f"{which} belongs to a pinned version: set {named('version')} too, or leave {which} out")
    if uri and not digest:
        raise ValueError(f"{named('uri')} is used without MLflow, so set {named('digest')} too: it verifies the files")
    if uri and urlsplit(uri).scheme not in URI_SCHEMES:
        raise ValueError(
            f"{named('uri')} is {uri!r}, but takes an address that starts with s3://, mlflow-artifacts:/ or file://"
        )


def _names(text: str, setting: str) -> tuple[str, ...]:
    """Parse a JSON list of names. Empty text is an empty list."""
    try:
        return msgspec.json.decode(text or "[]", type=tuple[str, ...])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(
            f'{setting} takes a JSON list of names, such as ["age", "city"], but is not one ({error})'
        ) from None


class Settings(msgspec.Struct, frozen=True, rename=str.upper):
    """The settings of the server. Created by `environment.read(Settings, os.environ)`."""

    mlflow_tracking_uri: TrackingUri = "http://mlflow:5000"
    mlflow_tracking_username: Annotated[str, Meta(description="MLflow's user, if it needs one")] = ""
    mlflow_tracking_password: Annotated[str, Meta(description="that user's password")] = ""
    mlflow_tracking_token: Annotated[str, Meta(description="MLflow's bearer token, instead of a user")] = ""
    ssl_cert_file: CertFile = ""
    model_name: ModelName = "iris-classifier"
    model_stage: Stage = "Production"
    model_version: Pin = ""
    model_digest: Digest = ""
    model_uri: Uri = ""
    model_release: Release = ""
    extra_models: Annotated[
        tuple[WantedModel, ...], Meta(description="further models to serve, under /v2 only: a JSON list of objects")
    ] = ()
    shadow_version: Annotated[
        str,
        Meta(pattern=_NUMBER, description="a second version of MODEL_NAME, to compare with the one that answers"),
    ] = ""
    shadow_digest: Annotated[str, Meta(pattern=_DIGEST, description="content digest that the shadow must have")] = ""
    shadow_uri: Annotated[
        str, Meta(description="address of the shadow's files; with the digest, MLflow is not needed for them")
    ] = ""
    shadow_release: Annotated[str, Meta(pattern=_RELEASE, description="the shadow's release, such as v1.3.0")] = ""
    shadow_sample: Annotated[
        float, Meta(ge=0, le=1, description="the share of requests whose rows the shadow gets")
    ] = 0.1
    s3_endpoint_url: Annotated[str, Meta(pattern=_HTTP, description="the S3 server of s3:// artifacts")] = (
        "http://minio:9000"
    )
    s3_secret_name: Annotated[
        str, Meta(description="the Kubernetes Secret with the S3 keys, for the message when S3 refuses them")
    ] = ""
    aws_region: Annotated[str, Meta(description="the region that S3 requests are signed for")] = "us-east-1"
    host: Annotated[str, Meta(description="the address to listen on, of either family; `::` listens on both")] = (
        "0.0.0.0"  # noqa: S104  (a pod's own address)
    )
    port: Annotated[int, Meta(ge=1, le=65535, description="the port to listen on")] = 8080
    unix_socket: Annotated[
        str,
        Meta(pattern="^(/.+)?$", max_length=100, description="the path of a Unix socket to listen on as well"),
    ] = ""
    path_prefix: Annotated[
        str,
        Meta(
            pattern=r"^(/[A-Za-z0-9._~-]+)*$",
            description="a prefix that a proxy leaves in every path, such as /models/NAME; paths without it still work",
        ),
    ] = ""
    metrics_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="a separate port for /metrics and /health, which PORT then does not serve; 0 for none",
        ),
    ] = 0
    grpc_port: Annotated[
        int, Meta(ge=0, le=65535, description="a port for the Open Inference Protocol over gRPC; 0 for none")
    ] = 0
    cors_origins: Annotated[
        str, Meta(description="origins whose pages may call the API from browsers, separated by commas; * for any")
    ] = ""
    gzip_answer_bytes: Annotated[
        int,
        Meta(ge=0, description="minimum size of answers to compress, for callers that accept gzip; 0 for never"),
    ] = 64 * 1024
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the lowest level of messages to write")
    ] = "info"
    log_format: Annotated[
        Literal["json", "console"], Meta(description="one JSON object per line, or lines for people")
    ] = "json"
    access_log: Annotated[bool, Meta(description="log every request, not only those that failed")] = False
    tracing: Annotated[
        bool,
        Meta(description="send traces with OpenTelemetry; its own variables (OTEL_...) set the address and the rate"),
    ] = False
    model_dir: Annotated[
        str, Meta(description="folder for downloads; empty means a temporary folder that is deleted with the process")
    ] = ""
    model_cache_size: Annotated[
        int, Meta(ge=1, le=100, description="how many versions stay loaded, of all models together")
    ] = 3
    model_cache_bytes: Annotated[int, Meta(ge=1, description="maximum total size of the files of loaded versions")] = (
        256 * 1024 * 1024
    )
    model_poll_seconds: Annotated[float, Meta(ge=0.05, le=3600, description="how often the alias is looked up")] = 15.0
    max_model_bytes: Annotated[int, Meta(ge=1, description="the largest model that is downloaded")] = 512 * 1024 * 1024
    download_seconds: Annotated[
        float, Meta(ge=0.1, le=86400, description="how long the download of one version may take")
    ] = 300.0
    trial_seconds: Annotated[
        float, Meta(ge=0.5, le=3600, description="how long the trial of a version may take, in a separate process")
    ] = 120.0
    trial_cpu_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="how many seconds of CPU time the trial may take")
    ] = 30
    trial_memory_bytes: Annotated[
        int,
        Meta(
            ge=1,
            description="how much memory the trial may take, in addition to four times the size of the version's files",
        ),
    ] = 384 * 1024 * 1024
    max_body_bytes: Annotated[int, Meta(ge=1, description="the largest request body")] = 1024 * 1024
    max_rows: Annotated[int, Meta(ge=1, description="maximum number of rows in one request")] = 1000
    explain: Annotated[bool, Meta(description="answer /explain: how much each column contributes to an answer")] = False
    explain_rows: Annotated[
        int, Meta(ge=1, le=1000, description="maximum number of rows in one request for explanations")
    ] = 10
    explain_evaluations: Annotated[
        int,
        Meta(ge=64, le=1_000_000, description="how many rows the model computes for each row that is explained"),
    ] = 4096
    explain_seconds: Annotated[
        float,
        Meta(ge=0.1, le=300, description="how long the explanations of one request may take, including their wait"),
    ] = 10.0
    explain_waiting: Annotated[
        int,
        Meta(ge=0, le=100, description="requests for explanations that may wait for the one in progress; more get 503"),
    ] = 4
    api_keys: Annotated[
        str, Meta(description="keys that predictions need, as NAME:KEY separated by commas; empty allows all callers")
    ] = ""
    api_keys_file: Annotated[
        str, Meta(description="a file of such keys, one per line, read again when it changes; overrides API_KEYS")
    ] = ""
    api_key_requests_per_second: Annotated[
        float, Meta(ge=0, description="requests per second for each key, in each process; 0 for no limit")
    ] = 0.0
    keep_alive_seconds: Annotated[
        int, Meta(ge=1, le=86400, description="how long a connection may be idle; longer than proxies keep theirs")
    ] = 75
    max_connections: Annotated[
        int, Meta(ge=1, description="how many connections may be open, without those of probes")
    ] = 2048
    max_waiting_requests: Annotated[
        int, Meta(ge=1, description="how many requests may wait for an answer; more are refused at once with 503")
    ] = 256
    max_waiting_seconds: Annotated[
        float,
        Meta(
            ge=0.001,
            le=60,
            description="the longest estimated wait of a request for those before it; 16 may always wait",
        ),
    ] = 0.1
    max_queue_seconds: Annotated[
        float, Meta(ge=0.01, le=60, description="how long rows may wait for a slow model; more are refused with 503")
    ] = 0.5
    registry_folders: Annotated[
        Literal["refuse", "allow"],
        Meta(description="whether MLflow may name folders of this machine (file://) for versions"),
    ] = "refuse"
    registry_timeout_seconds: Annotated[
        float, Meta(ge=0.05, le=300, description="how long one call to MLflow may take, retries included")
    ] = 5.0
    retry_min_seconds: Annotated[
        float, Meta(ge=0.01, le=60, description="the first wait before a retry of loading; it doubles each time")
    ] = 0.5
    retry_max_seconds: Annotated[float, Meta(ge=0.01, le=3600, description="the longest wait before a retry")] = 30.0
    shutdown_drain_seconds: Annotated[
        float,
        Meta(ge=0, le=300, description="after SIGTERM: how long to serve while not ready, so that callers can leave"),
    ] = 1.0
    shutdown_grace_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="after that, how long requests in progress may take to finish")
    ] = 20
    drift_window_seconds: Annotated[
        float, Meta(ge=0, le=604800, description="the sliding window for measuring drift; 0 turns it off")
    ] = 3600.0
    prediction_log: Annotated[
        str,
        Meta(
            pattern=r"^(s3://[A-Za-z0-9._-]+(/[^\s]*)?)?$",
            description="where a share of the rows and answers are logged: an s3:// address; empty logs none",
        ),
    ] = ""
    prediction_log_sample: Annotated[
        float, Meta(ge=0, le=1, description="the share of requests whose rows are logged")
    ] = 0.1
    prediction_log_below: Annotated[
        float,
        Meta(ge=0, le=1, description="rows whose class is less probable than this are always logged; 0 for none"),
    ] = 0.5
    prediction_log_unknown: Annotated[
        bool, Meta(description="whether rows with a text that training did not know are always logged")
    ] = True
    prediction_log_shadow: Annotated[
        bool, Meta(description="whether rows for which the shadow gives a different answer are always logged")
    ] = True
    prediction_log_columns: Annotated[
        str, Meta(description="the columns to log, as a JSON list of names; empty for all that are not sensitive")
    ] = ""
    prediction_log_feedback: Annotated[
        bool, Meta(description="whether callers with an API key may send the truth of answered rows to /feedback")
    ] = False
    prediction_log_seconds: Annotated[
        float, Meta(ge=0.1, le=3600, description="how old a file of the log may get before it is uploaded")
    ] = 60.0
    prediction_log_end_seconds: Annotated[
        float, Meta(ge=0.1, le=300, description="after the last answer: how long the rest of the log may take")
    ] = 5.0
    prediction_log_access_key_id: Annotated[
        str, Meta(description="the S3 key of the log's own user; without it the key for models is used")
    ] = ""
    prediction_log_secret_access_key: Annotated[str, Meta(description="and its secret")] = ""
    runtime: Annotated[
        Literal["auto", "onnx", "sklearn"], Meta(description="what computes predictions; auto prefers ONNX")
    ] = "auto"
    pickle_models: Annotated[
        Literal["refuse", "trust-and-run"],
        Meta(description="models saved as pickle can run any code when loaded: refuse them, or trust and run them"),
    ] = "refuse"
    skops_trusted_types: Annotated[
        str, Meta(description="types to allow in skops files besides scikit-learn's own, separated by commas")
    ] = ""

    def __post_init__(self) -> None:
        pin = (self.model_version, self.model_digest, self.model_uri, self.model_release)
        _check_pin(*pin, lambda field: f"MODEL_{field.upper()}")
        shadow = (self.shadow_version, self.shadow_digest, self.shadow_uri, self.shadow_release)
        _check_pin(*shadow, lambda field: f"SHADOW_{field.upper()}")
        if self.metrics_port == self.port:
            raise ValueError("METRICS_PORT is the same as PORT: give it another number, or leave it out")
        if self.grpc_port and self.grpc_port in (self.port, self.metrics_port):
            other = "PORT" if self.grpc_port == self.port else "METRICS_PORT"
            raise ValueError(f"GRPC_PORT is the same as {other}: give it another number, or leave it out")
        taken = {self.model_name}
        for index, extra in enumerate(self.extra_models):
            if extra.name in taken:
                raise ValueError(
                    f"EXTRA_MODELS[{index}].name is {extra.name!r}, which is already served: name each model once, "
                    "without MODEL_NAME"
                )
            taken.add(extra.name)
        if self.api_key_requests_per_second and not (self.api_keys or self.api_keys_file):
            raise ValueError("API_KEY_REQUESTS_PER_SECOND belongs to keys: set API_KEYS or API_KEYS_FILE too")
        if self.prediction_log_feedback and not self.prediction_log:
            raise ValueError("PREDICTION_LOG_FEEDBACK writes into the log: set PREDICTION_LOG too")
        if self.prediction_log_feedback and not (self.api_keys or self.api_keys_file):
            raise ValueError(
                "PREDICTION_LOG_FEEDBACK takes truth from known callers only: set API_KEYS or API_KEYS_FILE"
            )
        if bool(self.prediction_log_access_key_id) != bool(self.prediction_log_secret_access_key):
            raise ValueError(
                "PREDICTION_LOG_ACCESS_KEY_ID and PREDICTION_LOG_SECRET_ACCESS_KEY are one key: set both, or none"
            )
        _names(self.prediction_log_columns, "PREDICTION_LOG_COLUMNS")
        if self.retry_max_seconds < self.retry_min_seconds:
            raise ValueError(
                "RETRY_MAX_SECONDS is less than RETRY_MIN_SECONDS: the waits grow from the first to the second"
            )

    @property
    def models(self) -> tuple[WantedModel, ...]:
        """All models to serve, MODEL_NAME first, each with a stage or a version."""
        stage = "" if self.model_version else self.model_stage
        pin = (self.model_version, self.model_digest, self.model_uri, self.model_release)
        main = WantedModel(self.model_name, stage, *pin)
        extra = (
            model if model.version or model.stage else msgspec.structs.replace(model, stage=self.model_stage)
            for model in self.extra_models
        )
        return (main, *extra)

    @property
    def shadow(self) -> WantedModel | None:
        """The version to compare the main model with, if there is one."""
        if not self.shadow_version:
            return None
        pin = (self.shadow_version, self.shadow_digest, self.shadow_uri, self.shadow_release)
        return WantedModel(self.model_name, "", *pin)

    @property
    def logged_columns(self) -> tuple[str, ...]:
        """PREDICTION_LOG_COLUMNS as names, empty for all columns."""
        return _names(self.prediction_log_columns, "PREDICTION_LOG_COLUMNS")

    @property
    def prediction_log_keys(self) -> tuple[str, str] | None:
        """The keys of the log's own user, if it has one."""
        keys = (self.prediction_log_access_key_id, self.prediction_log_secret_access_key)
        return keys if all(keys) else None

    @property
    def extra_trusted_types(self) -> frozenset[str]:
        """SKOPS_TRUSTED_TYPES as a set."""
        return frozenset(name.strip() for name in self.skops_trusted_types.split(",") if name.strip())


class SmokeSettings(msgspec.Struct, frozen=True, rename=str.upper):
    """The settings of `serving smoke`: what to request, and what to expect."""

    smoke_url: Annotated[str, Meta(pattern=_HTTP, description="the service to test")] = "http://127.0.0.1:8080"
    model_name: Annotated[str, Meta(pattern=_NAME, description="the model that must be served")] = "iris-classifier"
    model_version: Annotated[
        str, Meta(pattern=_NUMBER, description="the version that must be served; empty means any")
    ] = ""
    model_digest: Annotated[
        str, Meta(pattern=_DIGEST, description="the digest that the version must have; empty means any")
    ] = ""
    smoke_alias: Annotated[
        str,
        Meta(
            pattern=r"^([A-Za-z0-9_-]+)?$",
            description="the alias to move to the version after a passed test; needs MODEL_VERSION; empty moves none",
        ),
    ] = ""
    smoke_api_key: Annotated[str, Meta(description="the API key, if the service needs one")] = ""
    smoke_seconds: Annotated[float, Meta(ge=0.05, le=3600, description="how long to retry before the test fails")] = (
        60.0
    )
    mlflow_tracking_uri: TrackingUri = "http://mlflow:5000"
    mlflow_tracking_username: Annotated[str, Meta(description="MLflow's user, if it needs one")] = ""
    mlflow_tracking_password: Annotated[str, Meta(description="that user's password")] = ""
    mlflow_tracking_token: Annotated[str, Meta(description="MLflow's bearer token, instead of a user")] = ""
    ssl_cert_file: CertFile = ""
    registry_timeout_seconds: Annotated[
        float, Meta(ge=0.05, le=300, description="how long one call to MLflow may take, retries included")
    ] = 5.0
