"""Reading a JSON body from ASGI within bounds, and saying what is wrong with it."""

import asyncio
import re
from typing import Any

import msgspec
from litestar.types import HTTPScope, Receive

from serving.api.problems import RefusedError, headers_of
from serving.errors import FieldError, InvalidInputError, OverloadedError
from serving.schemas import PredictRequest

# `curl -d` says that it sends a form, whatever it sends. What follows is parsed as JSON or refused, so nothing is lost
# by taking curl's word lightly, and the shortest command of all works.
JSON_TYPES = frozenset({b"application/json", b"application/x-www-form-urlencoded"})
_JSON = b"application/json"
_REST_SECONDS = 10.0
_BODIES_AT_ONCE = 32

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


class BodyReader:
    """Reads bodies of at most `limit` bytes each, and of all those that are not complete only so many bytes at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = _BODIES_AT_ONCE * limit

    async def read(self, scope: HTTPScope, receive: Receive, media_types: frozenset[bytes] = JSON_TYPES) -> bytes:
        """Reads the body of a POST request of one of some media types.

        Raises:
            RefusedError: 405 for another method than POST, 415 for another media type or encoding,
                413 when it is too long, 408 when it comes too slowly.
            OverloadedError: when too many long bodies come at once.
            ClientGoneError: when the caller hangs up.
        """
        _check_head(scope, self._limit, media_types)
        message: Any = await receive()
        if not message.get("more_body") and message["type"] == "http.request":
            body: bytes = message["body"]
            if len(body) > self._limit:
                raise _too_long(self._limit)
            return body
        try:
            async with asyncio.timeout(_REST_SECONDS):
                return await self._read_rest(message, receive)
        except TimeoutError:
            raise RefusedError(
                408, f"The body did not arrive within {_REST_SECONDS:.0f} seconds.", {"connection": "close"}
            ) from None

    async def _read_rest(self, message: Any, receive: Receive) -> bytes:
        body = bytearray()
        try:
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                piece = message.get("body", b"")
                self._left -= len(piece)
                body += piece
                if len(body) > self._limit:
                    raise _too_long(self._limit)
                if self._left < 0:
                    raise OverloadedError
                if not message.get("more_body"):
                    return bytes(body)
                message = await receive()
        finally:
            self._left += len(body)


def _check_head(scope: HTTPScope, limit: int, media_types: frozenset[bytes]) -> None:
    if scope["method"] != "POST":
        raise RefusedError(405, "This resource knows only POST.", {"allow": "POST"})
    headers = headers_of(scope)
    media_type = headers.get(b"content-type", _JSON)
    if media_type != _JSON and media_type.partition(b";")[0].strip().lower() not in media_types:
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
