"""Errors as application/problem+json (RFC 9457), for every route alike."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope, Send

from serving.errors import (
    InvalidInputError,
    ModelUnusableError,
    ServingError,
    TooManyRowsError,
    UnavailableError,
    UnknownVersionError,
)
from serving.schemas import Problem, ProblemField

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# How long a version that could not be loaded is not tried again for a caller, in seconds.
_UNUSABLE_RETRY_AFTER = 30


class RefusedError(Exception):
    """A request that is refused for its form: method, media type, length, or being no JSON."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


def describe(error: Exception, request_id: str) -> tuple[Problem, dict[str, str]]:
    """Turns an error into a problem and the headers that go with it."""
    status, detail, headers = told(error, request_id)
    errors = (
        tuple(ProblemField(e.field, e.reason) for e in error.errors) if isinstance(error, InvalidInputError) else ()
    )
    return Problem(HTTPStatus(status).phrase, status, detail, request_id, errors), headers


def told(error: Exception, request_id: str) -> tuple[int, str, dict[str, str]]:
    """Gives the status, the sentence and the headers for an error. What was not foreseen goes into the log only."""
    status, detail, headers = _told(error)
    if status == 500:
        logger.error("unforeseen error", exc_info=error, extra={"request_id": request_id})
    return status, detail, headers


def _told(error: Exception) -> tuple[int, str, dict[str, str]]:
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
        case HTTPException() if error.status_code < 500:
            found = error.status_code, _sentence(error), dict(error.headers or {})
        case _:
            found = 500, "Something unforeseen went wrong; the server's log has it under this request id.", {}
    return found


def _sentence(error: HTTPException) -> str:
    match error.status_code:
        case 404:
            return "There is nothing here; /docs lists what there is."
        case 405:
            return "This resource does not know the method; the header Allow lists those that it knows."
        case _:
            return error.detail


async def send_problem(scope: Scope, send: Send, error: Exception) -> None:
    """Answers with an error, on the level of ASGI."""
    problem, headers = describe(error, request_id(scope))
    await send_body(send, problem.status, MEDIA_TYPE, msgspec.json.encode(problem), headers)


async def send_body(
    send: Send, status: int, media_type: str, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Sends a whole answer, on the level of ASGI."""
    head = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
    head.extend((name.encode(), value.encode()) for name, value in (headers or {}).items())
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answers with an error, as an exception handler of Litestar."""
    problem, headers = describe(error, request_id(request.scope))
    return Response(msgspec.json.encode(problem), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]] = {
    HTTPException: on_error,
    ServingError: on_error,
    Exception: on_error,
}


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The request's headers, of those given twice the last, as `Observed` found them."""
    headers: dict[bytes, bytes] = scope["state"]["headers"]
    return headers


def request_id(scope: Scope) -> str:
    """The request's id, as `Observed` gave it."""
    identity: bytes = scope["state"].get("request_id", b"")
    return identity.decode()
