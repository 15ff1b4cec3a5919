"""Reading a JSON body from ASGI within bounds, and saying what is wrong with it."""

import asyncio
import re
from typing import Any

import msgspec
from litestar.types import HTTPScope, Receive

from serving.api.problems import RefusedError
from serving.errors import FieldError, InvalidInputError
from serving.schemas import PredictRequest

# `curl -d` says that it sends a form, whatever it sends. What follows is parsed as JSON or refused, so nothing is lost
# by taking curl's word lightly, and the shortest command of all works.
_MEDIA_TYPES = frozenset({b"application/json", b"application/x-www-form-urlencoded"})
_JSON = b"application/json"
_REST_SECONDS = 10.0

_decoder = msgspec.json.Decoder(PredictRequest)
_LOCATED = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<field>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WORDS = {
    "`bool | int | float`": "a number",
    "`float`": "a number",
    "`array`": "an array",
    "`object`": "an object",
    "`str`": "a string",
    "`int`": "an integer",
    "`bool`": "a boolean",
    "`null`": "null",
}


class ClientGoneError(Exception):
    """The caller hung up before the whole body was there, so there is nobody to answer."""


async def read_body(scope: HTTPScope, receive: Receive, limit: int) -> bytes:
    """Reads a request's body of at most `limit` bytes.

    Raises:
        RefusedError: 405 for another method than POST, 415 for another media type or encoding,
            413 when it is too long, 408 when it comes too slowly.
        ClientGoneError: when the caller hangs up.
    """
    _check_head(scope, limit)
    message: Any = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        body: bytes = message["body"]
        if len(body) > limit:
            raise _too_long(limit)
        return body
    try:
        async with asyncio.timeout(_REST_SECONDS):
            return await _read_rest(message, receive, limit)
    except TimeoutError:
        raise RefusedError(
            408, f"The body did not arrive within {_REST_SECONDS:.0f} seconds.", {"connection": "close"}
        ) from None


async def _read_rest(message: Any, receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_long(limit)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _check_head(scope: HTTPScope, limit: int) -> None:
    if scope["method"] != "POST":
        raise RefusedError(405, "This resource knows only POST.", {"allow": "POST"})
    headers = dict(scope["headers"])
    media_type = headers.get(b"content-type", _JSON)
    if media_type != _JSON and media_type.partition(b";")[0].strip().lower() not in _MEDIA_TYPES:
        raise RefusedError(415, "The body must be application/json.", {"accept": _JSON.decode()})
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise RefusedError(415, "The body must not be compressed.", {"accept-encoding": "identity"})
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise _too_long(limit)


def _too_long(limit: int) -> RefusedError:
    # What is left of the body is not worth reading, so the connection cannot be used again.
    return RefusedError(413, f"The body must not be longer than {limit} bytes.", {"connection": "close"})


def parse_request(body: bytes) -> PredictRequest:
    """Parses the body of a prediction request.

    Raises:
        RefusedError: 400 when it is no JSON.
        InvalidInputError: when it is, but of another form.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_field_error(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"
        raise RefusedError(400, f"The body is not JSON: {reason}.") from None
    except RecursionError:
        raise RefusedError(400, "The body is nested too deeply.") from None


def _field_error(message: str) -> FieldError:
    """Rewrites msgspec's messages in the words of JSON, with the field in front."""
    if unknown := _UNKNOWN.match(message):
        known = ", ".join(PredictRequest.__struct_fields__)
        return FieldError(unknown[1][:100], f"unknown field; known ones are {known}")
    match = _LOCATED.fullmatch(message)
    reason, field = (match["reason"], match["field"] or "") if match else (message, "")
    if reason == "Number out of range":
        return FieldError(field, "expected a finite number")
    for words, plain in _WORDS.items():
        reason = reason.replace(words, plain)
    return FieldError(field or "body", reason[:1].lower() + reason[1:])
