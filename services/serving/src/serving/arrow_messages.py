"""The messages of an Arrow IPC stream, checked before they are decoded: how many rows they claim, and where.

A table of a few bytes can claim any number of rows, and a compressed one can fill any memory. This module parses the
format (flatbuffers with Arrow's `Message.fbs`) in Python, where no body can cause a read outside its own bytes. The
packages that are small enough for an image (nanoarrow 0.9, arro3 0.9) crashed the process after changes of a few bytes.
"""

import struct
from collections.abc import Iterator
from itertools import chain
from struct import unpack_from
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.errors import TooManyRowsError

Pairs = NDArray[np.int64]

_CONTINUES = 0xFFFFFFFF
_ALIGNED = 8
# The positions of fields in Message.fbs, and the types of messages.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_SCHEMA, DICTIONARY, ROWS = 1, 2, 3
_ID_OF_DICTIONARY, _DATA_OF_DICTIONARY, _IS_DELTA = 0, 1, 2
_LENGTH, _COLUMNS, _BUFFERS, _COMPRESSION = 0, 1, 2, 3
_MOST_COLUMNS = 10_000
END = struct.pack("<II", _CONTINUES, 0)


class TableError(Exception):
    """The body is not a table that can be read. The message says why."""


class Message(msgspec.Struct, frozen=True):
    """A message: its type, and the positions in bytes of itself, its header, its body and its end."""

    kind: int
    start: int
    table: int
    header: int
    body: int
    end: int

    def rows_in(self, body: bytes) -> int:
        """Return the position of its record batch, which a dictionary has one level deeper. 0 if there is none."""
        return table(body, self.header, _DATA_OF_DICTIONARY) if self.kind == DICTIONARY else self.header


class Part(msgspec.Struct, frozen=True):
    """The rows of a message: their number, the columns as [length, nulls], and the buffers as [offset, length]."""

    rows: int
    columns: Pairs
    buffers: Pairs


class Stream(msgspec.Struct, frozen=True):
    """A stream: its schema, the messages after it, and their number of rows."""

    schema: Message
    parts: list[Message]
    rows: int

    @property
    def coded(self) -> bool:
        """Whether it has dictionaries."""
        return any(part.kind == DICTIONARY for part in self.parts)


def scan(body: bytes, max_rows: int) -> Stream:
    """Check the messages of a stream.

    Raises:
        TableError: if it is not a stream, or is compressed.
        TooManyRowsError: if it has more rows than allowed.
        IndexError, struct.error: if a message points outside the stream.
    """
    parts: list[Message] = []
    schema: Message | None = None
    rows = 0
    for message in messages(body):
        if (message.kind == _SCHEMA) != (schema is None):
            raise TableError("it does not begin with exactly one schema")
        if message.kind == _SCHEMA:
            schema = message
            continue
        at = message.rows_in(body)
        if not at:
            raise TableError("a dictionary of it has no values")
        if field(body, at, _COMPRESSION):
            raise TableError("its buffers are compressed; send them uncompressed, or the whole body as gzip")
        length = number(body, at, _LENGTH)
        if message.kind == ROWS:
            rows += length
        if length < 0 or rows > max_rows:
            raise TooManyRowsError(f"the table has {rows} rows, but at most {max_rows} are answered at once")
        parts.append(message)
    if schema is None:
        raise TableError("it has no schema")
    return Stream(schema, parts, rows)


def messages(body: bytes) -> Iterator[Message]:
    """Yield each message, up to the end marker if there is one.

    Raises:
        TableError: if a message does not follow Arrow's format.
        IndexError, struct.error: if a message points outside the stream.
    """
    at = 0
    while at < len(body):
        continues, length = unpack_from("<Ii", body, at)
        if continues != _CONTINUES:
            raise TableError("a message of it does not follow Arrow's format 1.0")
        if length == 0:
            break
        message = at + 8 + unpack_from("<I", body, at + 8)[0]
        kind_at, header = field(body, message, _HEADER_TYPE), table(body, message, _HEADER)
        kind = body[kind_at] if kind_at else 0
        if length < 0 or length % _ALIGNED or kind not in {_SCHEMA, DICTIONARY, ROWS} or not header:
            raise TableError("a message of it is broken")
        in_body = number(body, message, _BODY_LENGTH)
        start, at = at, at + 8 + length + in_body
        if in_body < 0 or at > len(body):
            raise TableError("it ends within a message")
        yield Message(kind, start, message, header, at - in_body, at)


def part_of(body: bytes, message: Message) -> Part:
    """Read where the columns of a message are.

    Raises:
        ValueError, IndexError, struct.error: if it points outside the stream.
    """
    at = message.rows_in(body)
    return Part(number(body, at, _LENGTH), _pairs(body, at, _COLUMNS), _pairs(body, at, _BUFFERS))


def dictionary_of(body: bytes, message: Message) -> tuple[int, bool]:
    """Read the id of a dictionary, and whether its values are added to those of an earlier one."""
    return number(body, message.header, _ID_OF_DICTIONARY), bool(number(body, message.header, _IS_DELTA, "<B"))


def _pairs(body: bytes, start: int, place: int) -> Pairs:
    at = table(body, start, place)
    count = unpack_from("<I", body, at)[0] if at else 0
    return np.frombuffer(body, "<i8", 2 * count, at + 4).reshape(-1, 2) if count else np.zeros((0, 2), np.int64)


class Template:
    """The messages of a table of one part, written by a library, to be filled with other rows.

    Args:
        example: A stream of a table with one row.
    """

    def __init__(self, example: bytes) -> None:
        schema, part = messages(example)
        self._schema = example[: schema.end]
        self._head = example[part.start : part.body]
        lengths = [field(example, part.table, _BODY_LENGTH), field(example, part.header, _LENGTH)]
        self._lengths = [at - part.start for at in lengths]
        self._columns, self._buffers = (
            table(example, part.header, place) + 4 - part.start for place in (_COLUMNS, _BUFFERS)
        )

    def fill(self, rows: int, buffers: list[list[Any]]) -> bytes:
        """Return the stream of a table without nulls, from the buffers of each column (None for an absent buffer)."""
        parts, pairs, length = [], [], 0
        for buffer in chain.from_iterable(buffers):
            part = b"" if buffer is None else memoryview(buffer).cast("B")
            pairs += [length, len(part)]
            parts += [part, bytes(-len(part) % _ALIGNED)]
            length += len(part) + len(parts[-1])
        head = bytearray(self._head)
        for at, number in zip(self._lengths, (length, rows), strict=True):
            struct.pack_into("<q", head, at, number)
        struct.pack_into(f"<{2 * len(buffers)}q", head, self._columns, *([rows, 0] * len(buffers)))
        struct.pack_into(f"<{len(pairs)}q", head, self._buffers, *pairs)
        return b"".join([self._schema, head, *parts, END])


def field(body: bytes, start: int, place: int) -> int:
    """Return the position of a table's field, 0 if it is left out."""
    fields = start - unpack_from("<i", body, start)[0]
    if fields < 0:
        raise IndexError
    size = unpack_from("<H", body, fields)[0]
    offset = unpack_from("<H", body, fields + 4 + 2 * place)[0] if 4 + 2 * place < size else 0
    return start + offset if offset else 0


def table(body: bytes, start: int, place: int) -> int:
    """Return the position of the table that a field points to, 0 if it is left out."""
    at = field(body, start, place)
    return at + unpack_from("<I", body, at)[0] if at else 0


def tables(body: bytes, start: int, place: int) -> list[int]:
    """Return the positions of the tables in a field that is a vector of tables."""
    at = table(body, start, place)
    count = unpack_from("<I", body, at)[0] if at else 0
    if count > _MOST_COLUMNS:
        raise TableError(f"it has {count} columns, but at most {_MOST_COLUMNS} are allowed")
    places = range(at + 4, at + 4 + 4 * count, 4)
    return [each + unpack_from("<I", body, each)[0] for each in places]


def number(body: bytes, start: int, place: int, kind: str = "<q", default: int = 0) -> int:
    """Read a field that is a whole number, with a `struct` format. The default if it is left out."""
    at = field(body, start, place)
    found: int = unpack_from(kind, body, at)[0] if at else default
    return found
