"""Reads a JSON body from ASGI within bounds, and explains what is wrong with it."""

import asyncio
import re
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar, get_args

import msgspec
from litestar.types import Receive

from serving.api.problems import RefusedError
from serving.api.routes import JSON, Call
from serving.errors import FieldError, InvalidInputError, OverloadedError
from serving.malformed import why_malformed
from serving.numbers import SHORTEST, table, table_in
from serving.schemas import NumbersRequest, PredictRequest, VersionName
from serving.versions.base import LATEST

# `curl -d` says that it sends a form, whatever it sends. The body is then parsed as JSON or refused, so accepting
# this type is safe, and the shortest possible command works.
JSON_TYPES = frozenset({JSON, b"application/x-www-form-urlencoded"})
ARROW = b"application/vnd.apache.arrow.stream"
# The supported encodings, and whether a body of each must be decompressed.
_ENCODINGS = {b"identity": False, b"": False, b"gzip": True, b"x-gzip": True}
_GZIP = zlib.MAX_WBITS | 16
_REST_SECONDS = 10.0
_BODIES_AT_ONCE = 32


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `PredictRequest` that has only `instances`, which stay raw JSON."""

    instances: msgspec.Raw
    model_version: VersionName = LATEST


_Body = TypeVar("_Body", bound=msgspec.Struct)
_decoder = msgspec.json.Decoder(PredictRequest)
_table_decoder = msgspec.json.Decoder(_Table)
_LOCATED = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<field>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_NO_CHOICE = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_WORDS = {
    "`bool | int | float | str | null`": "a number, a string, a boolean or null",
    "`object | array`": "an array or an object",
    "`float`": "a number",
    "`array`": "an array",
    "`object`": "an object",
    "`str`": "a string",
    "`int`": "an integer",
    "`bool`": "a boolean",
    "`null`": "null",
}


class ClientGoneError(Exception):
    """The caller closed the connection before the body was complete, so there is nobody to answer."""


class BodyReader:
    """Reads bodies of at most `limit` bytes each. All incomplete bodies together share another bound."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = _BODIES_AT_ONCE * limit

    async def read(self, call: Call, media_types: frozenset[bytes] = JSON_TYPES) -> bytes:
        """Read the body of a request that has one of `media_types`, and decompress it if it is gzip.

        Raises:
            RefusedError: 415 for another media type or encoding, 413 if it is too long, 408 if it arrives too slowly,
                400 if it claims to be gzip and is not.
            OverloadedError: if too many long bodies arrive at once.
            ClientGoneError: if the caller closes the connection.
        """
        headers = call.headers
        encoding = _checked(headers, self._limit, media_types)
        message: Any = await call.receive()
        if not message.get("more_body") and message["type"] == "http.request":
            body: bytes = message["body"]
            if len(body) > self._limit:
                raise _too_long(self._limit)
            return _inflated(body, self._limit) if encoding else body
        try:
            async with asyncio.timeout(_REST_SECONDS):
                body = await self._read_rest(message, call.receive)
        except TimeoutError:
            raise RefusedError(
                408, f"The body did not arrive within {_REST_SECONDS:.0f} seconds.", {"connection": "close"}
            ) from None
        return _inflated(body, self._limit) if encoding else body

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


def _checked(headers: Mapping[bytes, bytes], limit: int, media_types: frozenset[bytes]) -> bool:
    """Check the headers, and return whether the body is compressed."""
    if (sent := media_type(headers)) not in media_types:
        raise RefusedError(415, *_expected(media_types, sent))
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in _ENCODINGS:
        raise RefusedError(415, "The body may be compressed only with gzip.", {"accept-encoding": "gzip"})
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise _too_long(limit)
    return _ENCODINGS[encoding]


def media_type(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the media type that the headers name, without parameters."""
    sent = headers.get(b"content-type", JSON)
    return sent if sent == JSON else sent.partition(b";")[0].strip().lower()


def _expected(media_types: frozenset[bytes], sent: bytes) -> tuple[str, dict[str, str]]:
    """Return a message that names the accepted media types, and its header."""
    taken = [JSON, *sorted(media_types - JSON_TYPES)]
    words = " or ".join(name.decode() for name in taken)
    # The hint names /predict, so that callers of other paths do not install the extra in vain.
    hint = " Only /predict reads tables, if the server is installed with its extra `arrow`." if sent == ARROW else ""
    return f"The body must be {words}.{hint}", {"accept": ", ".join(name.decode() for name in taken)}


def _inflated(body: bytes, limit: int) -> bytes:
    """Decompress a body to at most `limit` bytes."""
    inflator = zlib.decompressobj(_GZIP)
    try:
        inflated = inflator.decompress(body, limit + 1)
    except zlib.error:
        inflated = b""
    if len(inflated) > limit:
        raise RefusedError(413, f"The body must not be longer than {limit} bytes after decompression.")
    if not inflator.eof or inflator.unused_data:
        raise RefusedError(400, "Content-Encoding says gzip, but the body is not one complete gzip stream.")
    return inflated


def _too_long(limit: int) -> RefusedError:
    # The rest of the body is not read, so the connection cannot be used again.
    return RefusedError(413, f"The body must not be longer than {limit} bytes.", {"connection": "close"})


def read_request(body: bytes) -> PredictRequest | NumbersRequest:
    """Parse the body of a prediction request. Many rows of only numbers are parsed at once, not one by one.

    Raises:
        RefusedError, InvalidInputError: as in `parse_request`.
    """
    if len(body) >= SHORTEST:
        if (rows := table_in(body, "instances")) is not None:
            return NumbersRequest(rows, LATEST, partial(parse_request, body))
        try:
            given = _table_decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # If the body is invalid, `parse_request` explains why.
            return parse_request(body)
        if (rows := table(bytes(given.instances))) is not None:
            return NumbersRequest(rows, given.model_version, partial(parse_request, body))
    return parse_request(body)


def parse_request(body: bytes) -> PredictRequest:
    """Parse the body of a prediction request, value by value.

    Raises:
        RefusedError, InvalidInputError: as in `parsed`.
    """
    return parsed(body, _decoder)


def parsed(body: bytes, decoder: "msgspec.json.Decoder[_Body]") -> _Body:
    """Parse a body.

    Raises:
        RefusedError: 400 if it is not JSON.
        InvalidInputError: if it is JSON of another form.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_field_error(str(error), decoder.type)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(400, f"The body is not JSON: {why_malformed(error, body)}.") from None
    except RecursionError:
        raise RefusedError(400, "The body is nested too deeply.") from None


def _field_error(message: str, body: type[msgspec.Struct]) -> FieldError:
    """Rewrite a message of msgspec in the terms of JSON, with the field first."""
    if (unknown := _UNKNOWN.match(message)) and " - at `$" not in message:
        known = ", ".join(body.__struct_fields__)
        return FieldError(unknown[1][:100], f"unknown field; known ones are {known}")
    match = _LOCATED.fullmatch(message)
    reason, field = (match["reason"], match["field"] or "") if match else (message, "")
    if reason == "Number out of range":
        return FieldError(field, "expected a finite number")
    if unknown := _NO_CHOICE.match(reason):
        return FieldError(field, f"{unknown[1][:100]} is not known; known ones are {', '.join(_choices(body, field))}")
    for words, plain in _WORDS.items():
        reason = reason.replace(words, plain)
    return FieldError(field or "body", reason[:1].lower() + reason[1:])


def _choices(body: type[msgspec.Struct], field: str) -> tuple[str, ...]:
    """Return the values that a field of a body takes."""
    kind = next(each.type for each in msgspec.structs.fields(body) if each.encode_name == field)
    return get_args(kind)
