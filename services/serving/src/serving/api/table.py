"""The table of routes."""

from typing import TYPE_CHECKING

from serving.api.handlers import About, answered
from serving.api.invocations import Invocations
from serving.api.page import Docs
from serving.api.predict import Predictions
from serving.api.problems import as_inference_error, as_mlflow_error, as_problem, nothing_here
from serving.api.routes import Answer, Call, Operation, Route
from serving.openinference.mapping import ModelMetadata
from serving.openinference.messages import InferRequest, InferResponse
from serving.schemas import (
    BatchResponse,
    ExplainRequest,
    ExplainResponse,
    FeedbackRequest,
    FeedbackResponse,
    Health,
    Live,
    ModelInfo,
    ModelReady,
    PredictRequest,
    PredictResponse,
    Ready,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from serving.scoring import InvocationRequest, InvocationResponse

if TYPE_CHECKING:
    from serving.api.explain import Explaining

    # These import the code that writes the log, which is only needed when the log is on.
    from serving.api.feedback import Feedback

_UNREADY = (500, 503)
_NAMED = (404, 500, 503)
_PREDICTING = (400, 404, 408, 413, 415, 422, 500, 503)
_TELLING = (400, 408, 413, 415, 422, 500, 503)
_INVOKING = (400, 408, 413, 415, 500, 503)
_INFERRING = (400, 404, 408, 413, 415, 500, 503)


async def _nothing(_: Call) -> Answer:
    raise nothing_here()


# The routes of all other paths, by the beginning of the path. Metrics count them as one route.
UNMATCHED = {
    "/": Route("unmatched", "GET", _nothing, as_problem),
    "/v2": Route("unmatched", "GET", _nothing, as_inference_error),
}


def routes(
    about: About,
    predictions: Predictions,
    invocations: Invocations,
    docs: Docs,
    explaining: "Explaining | None" = None,
    feedback: "Feedback | None" = None,
) -> tuple[Route, ...]:
    """List every route in the order of the OpenAPI document. Explanations and feedback are included if they are on."""

    async def live(_: Call) -> Answer:
        return answered(ServerLive())

    async def ready(_: Call) -> Answer:
        about.require_ready()
        return answered(ServerReady())

    return (
        Route("/", "GET", docs.lead, as_problem),
        Route("/docs", "GET", docs.page, as_problem),
        Route("/docs/openapi.json", "GET", docs.document, as_problem),
        Route("/openapi.json", "GET", docs.document, as_problem),
        Route(
            "/health", "GET", about.health, as_problem, probe=True, internal=True,
            operation=Operation("health", "Both, for people", Health, errors=(500,)),
        ),
        Route(
            "/health/live", "GET", about.live, as_problem, probe=True,
            operation=Operation("health", "Whether the process answers", Live, errors=(500,)),
        ),
        Route(
            "/health/ready", "GET", about.ready, as_problem, probe=True,
            operation=Operation("health", "Whether to send requests here", Ready, errors=_UNREADY),
        ),
        Route(
            "/model/info", "GET", about.model_info, as_problem,
            operation=Operation("model", "The model that /predict uses", ModelInfo, errors=_UNREADY),
        ),
        Route(
            "/metrics", "GET", about.metrics, as_problem, probe=True, internal=True,
            operation=Operation("metrics", "Metrics for Prometheus", "text/plain", errors=(500,)),
        ),
        Route(
            "/predict", "POST", predictions.predict, as_problem, sheddable=True,
            operation=Operation(
                "predict", "Predict one row or many", (PredictResponse, BatchResponse), PredictRequest, _PREDICTING
            ),
        ),
        *_explain(explaining),
        *_of_feedback(feedback),
        Route(
            "/invocations", "POST", invocations.invocations, as_mlflow_error, sheddable=True,
            operation=Operation(
                "mlflow", "Predictions in the format of MLflow's scoring server", InvocationResponse, InvocationRequest,
                _INVOKING,
            ),
        ),
        Route(
            "/ping", "GET", invocations.ping, as_mlflow_error, probe=True,
            operation=Operation("mlflow", "Whether to send requests here", Ready, errors=_UNREADY),
        ),
        Route(
            "/version", "GET", invocations.version, as_mlflow_error,
            operation=Operation("mlflow", "The version of this server", "text/plain", errors=(500,)),
        ),
        Route(
            "/v2", "GET", predictions.server_metadata, as_inference_error,
            operation=Operation("open inference", "What this server is", ServerMetadata, errors=(500,)),
        ),
        Route(
            "/v2/health/live", "GET", live, as_inference_error, probe=True,
            operation=Operation("open inference", "Whether the process answers", ServerLive, errors=(500,)),
        ),
        Route(
            "/v2/health/ready", "GET", ready, as_inference_error, probe=True,
            operation=Operation("open inference", "Whether to send requests here", ServerReady, errors=_UNREADY),
        ),
        *_of_models("/v2/models/{model_name}", "version that `latest` means", predictions),
        *_of_models("/v2/models/{model_name}/versions/{model_version}", "named version of the model", predictions),
    )  # fmt: skip


def _explain(explaining: "Explaining | None") -> tuple[Route, ...]:
    if explaining is None:
        return ()
    return (
        Route(
            "/explain", "POST", explaining.explain, as_problem, sheddable=True,
            operation=Operation(
                "predict", "How much each column contributes to an answer", ExplainResponse, ExplainRequest, _PREDICTING
            ),
        ),
    )  # fmt: skip


def _of_feedback(feedback: "Feedback | None") -> tuple[Route, ...]:
    if feedback is None:
        return ()
    return (
        Route(
            "/feedback", "POST", feedback.take, as_problem, sheddable=True,
            operation=Operation(
                "feedback", "Send the truth of answered rows", FeedbackResponse, FeedbackRequest, _TELLING
            ),
        ),
    )  # fmt: skip


def _of_models(path: str, whose: str, predictions: Predictions) -> tuple[Route, ...]:
    tag = "open inference"
    return (
        Route(
            path, "GET", predictions.model_metadata, as_inference_error,
            operation=Operation(tag, f"Inputs and outputs of the {whose}", ModelMetadata, errors=_NAMED),
        ),
        Route(
            f"{path}/ready", "GET", predictions.model_ready, as_inference_error,
            operation=Operation(tag, f"Whether the {whose} is loaded", ModelReady, errors=_NAMED),
        ),
        Route(
            f"{path}/infer", "POST", predictions.infer, as_inference_error, sheddable=True,
            operation=Operation(tag, f"Predictions of the {whose}", InferResponse, InferRequest, _INFERRING),
        ),
    )  # fmt: skip
