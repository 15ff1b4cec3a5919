"""Tables as Arrow IPC streams (columnar, binary): the rows of a request, and the answers to them.

nanoarrow reads and writes them, which takes 3 MB where pyarrow takes 150. It is imported when a table comes.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any

import nanoarrow as na
import numpy as np
from nanoarrow import ipc

from serving.arrow_messages import Message, Stream, TableError, Template, columns_of, scan
from serving.decoding import Decoder, listed, shown_name
from serving.errors import FieldError, InvalidInputError
from serving.features import RowReader
from serving.labels import places
from serving.openinference.rows import read_columns
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec

# Arrow's types by the letters that its C data interface has for them.
_NUMBERS = {
    "c": "i1", "C": "u1", "s": "<i2", "S": "<u2", "i": "<i4", "I": "<u4", "l": "<i8", "L": "<u8",
    "e": "<f2", "f": "<f4", "g": "<f8",
}  # fmt: skip
_TEXTS = {"u": "<i4", "U": "<i8"}
# Moments: how they are stored, and how many of them make a second.
_MOMENTS: dict[str, tuple[str, float]] = {
    "tdD": ("<i4", 1 / 86400), "tdm": ("<i8", 1e3),
    "tss": ("<i8", 1), "tsm": ("<i8", 1e3), "tsu": ("<i8", 1e6), "tsn": ("<i8", 1e9),
}  # fmt: skip
_MOST_EXACT = 2**53


def read(body: bytes, reader: RowReader, max_rows: int) -> Matrix:
    """Reads the rows of a table, whose columns are named like the model's; optional ones may be absent.

    Raises:
        InvalidInputError: when it is not a stream of Arrow's, or its columns or values do not fit the model.
        TooManyRowsError: when there are more rows than allowed.
    """
    with _refusing():
        stream = scan(body, max_rows)
        if not stream.rows:
            raise _wrong("", "expected at least one row")
        if reader.only_numbers and not stream.coded and (matrix := _of_numbers(body, stream, reader)) is not None:
            return matrix
    columns = values(body, reader)
    return reader.of_columns(
        read_columns(
            (decoder, column, _field(decoder.column.name))
            for decoder, column in zip(reader.decoders, columns, strict=True)
        )
    )


def values(body: bytes, reader: RowReader) -> list[np.ndarray[Any, Any]]:
    """Gives the values of a table, an array for each column of the model, before any is held against its column.

    The table has rows, and `scan` has let it pass. Null is NaN among numbers, and the empty text among texts.

    Raises:
        InvalidInputError: when its columns are not the model's, or of types that are not read.
    """
    with _refusing(), ipc.InputStream.from_readable(body) as given:
        source = na.c_array_stream(given)
        schema = source.get_schema()
        order = _order(reader, *_columns(schema))
        parts = [_part(reader, schema, part, order) for part in source]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


@contextmanager
def _refusing() -> Iterator[None]:
    """Says of what is no table that it is none."""
    try:
        yield
    except (TableError, na._utils.NanoarrowException, ValueError) as error:
        # ValueErrors are of names that are not text, and of buffers that do not hold what they should.
        raise _wrong("", f"the body is not a table as an Arrow IPC stream: {str(error)[:200]}") from None


def _of_numbers(body: bytes, stream: Stream, reader: RowReader) -> Matrix | None:
    """Reads a table of numbers without nulls where it lies; None where it is something else, or does not fit."""
    names, kinds = _schema(stream.schema)
    order = _order(reader, names, kinds)
    dtypes = [np.dtype(_NUMBERS[kinds[at]]) for at in order if at is not None and kinds[at] in _NUMBERS]
    if len(dtypes) < len(order):
        return None
    rows = np.empty((stream.rows, len(order)))
    first = 0
    for part in stream.parts:
        last = first + _copy_numbers(body, part, [*zip(order, dtypes, strict=True)], rows[first:])
        if last == first:
            return None
        first = last
    return reader.of_numbers(rows)


def _copy_numbers(body: bytes, part: Message, order: list[Any], rows: np.ndarray[Any, Any]) -> int:
    """Copies the columns of a part into rows, and gives how many these are; 0 where it is not as plain as that."""
    columns, buffers = columns_of(body, part)
    length = int(columns[0, 0]) if len(columns) == len(order) and len(buffers) == 2 * len(columns) else 0
    if not 0 < length <= len(rows) or (columns != (length, 0)).any():
        return 0
    starts = buffers[1::2, 0].tolist()
    for place, (at, dtype) in enumerate(order):
        start = part.body + starts[at]
        if starts[at] < 0 or start + length * dtype.itemsize > part.end:
            return 0
        rows[:length, place] = np.frombuffer(body, dtype, length, start)
    return length


@lru_cache(64)
def _schema(stream: bytes) -> tuple[list[str], list[str]]:
    with ipc.InputStream.from_readable(stream) as given:
        return _columns(na.c_array_stream(given).get_schema())


def _columns(schema: Any) -> tuple[list[str], list[str]]:
    """Gives the names of a table's columns, and their types as Arrow's C data interface has them."""
    children = [schema.child(at) for at in range(schema.n_children)] if schema.format == "+s" else []
    return [child.name for child in children], [child.format for child in children]


def _part(reader: RowReader, schema: Any, part: Any, order: list[int | None]) -> list[np.ndarray[Any, Any]]:
    """Copies the columns of a part of a table: its memory goes with it."""
    view = part.view()
    return [
        _absent(decoder, view.length)
        if at is None or schema.child(at).format == "n"
        else _values(schema.child(at), view.child(at))
        for decoder, at in zip(reader.decoders, order, strict=True)
    ]


def _order(reader: RowReader, given: list[str], kinds: list[str]) -> list[int | None]:
    """Finds where each column of the model stands in a table; None where an optional one is not there."""
    known = [column.name for column in reader.columns]
    if len(kinds) > len(known):
        raise _wrong("", f"the table has {len(kinds)} columns, but the model has {listed(known)}")
    unknown = [name for name in given if name not in reader.names]
    missing = [column.name for column in reader.columns if column.name not in given and not column.optional]
    if unknown or missing:
        raise InvalidInputError(
            *(FieldError(_field(name), f"unknown column; the model has {listed(known)}") for name in unknown),
            *(FieldError(_field(name), "the column is missing") for name in missing),
        )
    if len(set(given)) < len(given) or len(set(known)) < len(known):
        raise _wrong("", "two columns have the same name, so they cannot be told apart")
    return [given.index(name) if name in given else None for name in known]


def _values(schema: Any, view: Any) -> np.ndarray[Any, Any]:
    """Copies the values of a column: numbers, with NaN for null, or text, with the empty one for null."""
    kind, rows = schema.format, view.length
    null = _nulls(view)
    if schema.dictionary is not None:
        if kind not in _NUMBERS or schema.dictionary.format not in _TEXTS:
            raise _unknown(schema, f"dictionary of {na.Schema(schema.dictionary)}")
        places = np.frombuffer(view.buffer(1), _NUMBERS[kind])[:rows].astype(np.int64)
        known = np.append(_texts(schema.dictionary.format, view.dictionary), "")
        places[null] = len(known) - 1
        if places.size and not 0 <= places.min() <= places.max() < len(known):
            raise TableError(f"column {shown_name(schema.name)} has a place that its dictionary has not")
        return known[places]
    if kind == "b":
        bits = np.unpackbits(np.frombuffer(view.buffer(1), np.uint8), count=rows, bitorder="little").astype(bool)
        return np.where(null, np.nan, bits) if null.any() else bits
    if kind in _TEXTS:
        return _texts(kind, view)
    if kind in _NUMBERS:
        return _numbers(np.frombuffer(view.buffer(1), _NUMBERS[kind])[:rows], null)
    dtype, a_second = _MOMENTS.get(kind.partition(":")[0], ("", 0.0))
    if not dtype:
        raise _unknown(schema, str(na.Schema(schema).type.name).lower())
    seconds = np.frombuffer(view.buffer(1), dtype)[:rows] / a_second
    seconds[null] = np.nan
    return seconds


def _nulls(view: Any) -> np.ndarray[Any, Any]:
    if not view.null_count or not view.n_buffers:
        return np.zeros(view.length, dtype=bool)
    return ~np.unpackbits(np.frombuffer(view.buffer(0), np.uint8), count=view.length, bitorder="little").astype(bool)


def _numbers(values: np.ndarray[Any, Any], null: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if values.dtype.kind != "f" and not null.any():
        return values.copy()
    found = values.astype(np.float64)
    if values.dtype.itemsize == 8 and values.dtype.kind != "f":
        # What doubles cannot tell from its neighbours is refused, as it is where there is no null.
        found[(values > _MOST_EXACT) | (values < -_MOST_EXACT if values.dtype.kind == "i" else False)] = np.inf
    found[null] = np.nan
    return found


def _texts(kind: str, view: Any) -> np.ndarray[Any, Any]:
    ends = np.frombuffer(view.buffer(1), _TEXTS[kind])[: view.length + 1].tolist()
    content = bytes(view.buffer(2))
    null = _nulls(view)
    texts: np.ndarray[Any, Any] = np.empty(view.length, dtype=object)
    try:
        texts[:] = [content[start:end].decode() for start, end in pairwise(ends)]
    except UnicodeDecodeError:
        raise TableError("a text is not UTF-8") from None
    texts[null] = ""
    return texts


def _absent(decoder: Decoder, rows: int) -> np.ndarray[Any, Any]:
    """Stands for a column that is not there, or has no values."""
    return np.full(rows, "", dtype=object) if decoder.column.kind == "category" else np.full(rows, np.nan)


def written(result: Matrix, spec: ModelSpec) -> bytes:
    """Writes what a model gave as a table: `prediction`, and `probability` where there is one."""
    answers = list(_answers(result, spec))
    template = _template(tuple((name, kind) for name, kind, _ in answers))
    return template.fill(len(result), [buffers for *_, buffers in answers])


@lru_cache(64)
def _template(columns: tuple[tuple[str, str], ...]) -> Template:
    types = {name: na.c_schema(getattr(na, kind)()) for name, kind in columns}
    buffers: dict[str, list[Any]] = {"string": [None, np.zeros(2, np.int32), b""]}
    children = [na.c_array_from_buffers(types[name], 1, buffers.get(kind, [None, bytes(8)])) for name, kind in columns]
    sink = io.BytesIO()
    with ipc.StreamWriter.from_writable(sink) as writer:
        writer.write_array(na.c_array_from_buffers(na.struct(types), 1, [None], children=children))
    return Template(sink.getvalue())


def _answers(result: Matrix, spec: ModelSpec) -> Iterator[tuple[str, str, list[Any]]]:
    """Gives each column of the answer: its name, its type, and its buffers."""
    number = "float32" if result.dtype == np.float32 else "float64"
    classes = spec.classes
    if not classes:
        yield "prediction", number, [None, np.ascontiguousarray(result)]
        return
    best = places(result, len(classes))
    kinds = {type(label) for label in classes}
    if kinds == {bool}:
        bits = np.packbits(np.array(classes, dtype=bool)[best], bitorder="little")
        yield "prediction", "bool_", [None, bits]
    elif kinds == {int}:
        yield "prediction", "int64", [None, np.array(classes, dtype=np.int64)[best]]
    else:
        texts = [str(label).encode() for label in classes]
        ends = np.zeros(len(best) + 1, dtype=np.int32)
        np.cumsum(np.array(list(map(len, texts)), dtype=np.int32)[best], out=ends[1:])
        yield "prediction", "string", [None, ends, b"".join(map(texts.__getitem__, best.tolist()))]
    if spec.labels != "only":
        yield "probability", number, [None, result[np.arange(len(result)), best]]


def _field(name: str) -> str:
    return f"columns[{shown_name(name)}]"


def _unknown(schema: Any, kind: str) -> InvalidInputError:
    return _wrong(
        _field(schema.name),
        f"its type is {kind}, which is not read: send numbers, booleans, strings, dates or timestamps",
    )


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
