"""Errors as responses: as problem documents (RFC 9457), and in the forms of the Open Inference Protocol and MLflow."""

import logging
from http import HTTPStatus

import msgspec

from serving.api.routes import JSON, Answer
from serving.errors import (
    InvalidInputError,
    ModelUnusableError,
    TooManyRowsError,
    UnavailableError,
    UnknownVersionError,
)
from serving.schemas import InferenceError, InvocationError, Problem, ProblemField

logger = logging.getLogger(__name__)

MEDIA_TYPE = b"application/problem+json"
# For so many seconds after a version failed to load, requests do not load it again.
_UNUSABLE_RETRY_AFTER = 30


_MLFLOW_CODES = {
    401: "UNAUTHENTICATED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}


class RefusedError(Exception):
    """A request that is refused for its form: method, media type, length, or because it is not JSON."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


def nothing_here() -> RefusedError:
    """Return the refusal of a path that does not exist."""
    return RefusedError(404, "This path does not exist; /docs lists all paths.")


def as_problem(error: Exception, identity: bytes) -> Answer:
    """Return an error as a problem document. `identity` is the request's id."""
    status, detail, headers = told(error, identity)
    fields = error.errors if isinstance(error, InvalidInputError) else ()
    errors = tuple(ProblemField(field.field, field.reason) for field in fields)
    problem = Problem(HTTPStatus(status).phrase, status, detail, identity.decode(), errors)
    return _answer(problem, MEDIA_TYPE, status, headers)


def as_inference_error(error: Exception, identity: bytes) -> Answer:
    """Return an error in the form of the Open Inference Protocol. Any error in a tensor is 400."""
    status, detail, headers = told(error, identity)
    return _answer(InferenceError(detail), JSON, 400 if isinstance(error, InvalidInputError) else status, headers)


def as_mlflow_error(error: Exception, identity: bytes) -> Answer:
    """Return an error in the form of MLflow's scoring server. Any error in a table is 400."""
    status, detail, headers = told(error, identity)
    if isinstance(error, InvalidInputError):
        status = 400
    code = _MLFLOW_CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
    return _answer(InvocationError(code, detail), JSON, status, headers)


def _answer(body: msgspec.Struct, media_type: bytes, status: int, headers: dict[str, str]) -> Answer:
    encoded = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return Answer(msgspec.json.encode(body), media_type, status, encoded)


def told(error: Exception, identity: bytes) -> tuple[int, str, dict[str, str]]:
    """Return the status, the message and the headers for an error. Details of unexpected errors only go to the log."""
    found: tuple[int, str, dict[str, str]]
    match error:
        case RefusedError():
            found = error.status, str(error), error.headers
        case InvalidInputError():
            found = 422, str(error), {}
        case TooManyRowsError():
            found = 413, str(error), {}
        case UnknownVersionError():
            found = 404, str(error), {}
        case UnavailableError():
            found = 503, str(error), {"retry-after": str(error.retry_after)}
        case ModelUnusableError():
            found = 503, f"This version cannot be served: {error}", {"retry-after": str(_UNUSABLE_RETRY_AFTER)}
        case _:
            logger.error("unforeseen error", exc_info=error, extra={"request_id": identity.decode()})
            found = 500, "An unexpected error occurred; the server's log has it under this request id.", {}
    return found
