"""Tables as Arrow IPC streams (columnar, binary): the rows of a request, and their answers.

Requests are read in Python (`arrow_messages`). nanoarrow writes the templates of answers. It takes 3 MB, where pyarrow
takes 150 MB. It is imported when the first table arrives.
"""

import io
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any

import nanoarrow as na
import numpy as np
from nanoarrow import ipc

from serving.arrow_columns import bytes_at, fixed, texts_of, values_of
from serving.arrow_messages import ROWS, Stream, TableError, Template, dictionary_of, part_of, scan
from serving.arrow_schema import Column, columns
from serving.decoding import Decoder, listed, shown_name
from serving.errors import FieldError, InvalidInputError
from serving.features import RowReader
from serving.labels import places
from serving.openinference.rows import read_columns
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec

# The longest schema in bytes whose columns are cached, and the most dictionaries in one stream.
_LONGEST_KEPT = 2**16
_MOST_DICTIONARIES = 1000
_MOST_ERRORS = 10
# Removing the padding of longer labels would cost more than a Python object for each row.
_LONGEST_LABEL = 64
_FILLING = b"\xff"


def read(body: bytes, reader: RowReader, max_rows: int) -> Matrix:
    """Read the rows of a table. Its columns have the names of the model's columns. Optional ones may be absent.

    Raises:
        InvalidInputError: if it is not an Arrow stream, or its columns or values do not fit the model.
        TooManyRowsError: if it has more rows than allowed.
    """
    with _refusing():
        stream = scan(body, max_rows)
        if not stream.rows:
            raise _wrong("", "expected at least one row")
        given = _given(body[: stream.schema.end], stream.schema.header)
        order = _order(reader, given)
        if (matrix := _of_numbers(body, stream, reader, given, order)) is not None:
            return matrix
        found = _joined(body, stream, reader, given, order)
    return reader.of_columns(
        read_columns(
            (decoder, column, _field(decoder.column.name))
            for decoder, column in zip(reader.decoders, found, strict=True)
        )
    )


def values(body: bytes, reader: RowReader) -> list[np.ndarray[Any, Any]]:
    """Return the values of a table, an array for each column of the model, before they are checked against the column.

    The table has rows. Null becomes NaN in numbers, and the empty string in texts.

    Raises:
        InvalidInputError: if it is not an Arrow stream, or its columns are not the model's, or have unsupported types.
    """
    with _refusing():
        stream = scan(body, sys.maxsize)
        given = _given(body[: stream.schema.end], stream.schema.header)
        return _joined(body, stream, reader, given, _order(reader, given))


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn errors in a body that is not a table into `InvalidInputError`."""
    try:
        yield
    except TableError as error:
        raise _wrong("", f"the body is not a table as an Arrow IPC stream: {error}") from None
    except (struct.error, IndexError, ValueError):
        raise _wrong("", "the body is not a table as an Arrow IPC stream: a message of it is broken") from None


def _given(schema: bytes, header: int) -> list[Column]:
    """Return the columns of a schema. Short schemas are cached, because callers send tables of one kind repeatedly."""
    return (_kept if len(schema) <= _LONGEST_KEPT else columns)(schema, header)


_kept = lru_cache(64)(columns)


def _of_numbers(
    body: bytes, stream: Stream, reader: RowReader, given: list[Column], order: list[int | None]
) -> Matrix | None:
    """Copy a table of numbers without nulls directly from the body. None if it is another kind of table."""
    if not reader.only_numbers or stream.coded:
        return None
    kinds = [(at, np.dtype(given[at].stored)) for at in order if at is not None and given[at].kind == "number"]
    if len(kinds) < len(order):
        return None
    rows = np.empty((stream.rows, len(order)))
    first = 0
    for message in stream.parts:
        part = part_of(body, message)
        if len(part.columns) != len(given) or len(part.buffers) != 2 * len(given):
            raise TableError("the columns of a batch differ from its schema")
        if (part.columns != (part.rows, 0)).any():
            return None
        buffers = part.buffers.tolist()
        for place, (at, dtype) in enumerate(kinds):
            values = bytes_at(body, message, buffers[2 * at + 1])
            rows[first : first + part.rows, place] = fixed(values, dtype, part.rows)
        first += part.rows
    return reader.of_numbers(rows)


def _joined(
    body: bytes, stream: Stream, reader: RowReader, given: list[Column], order: list[int | None]
) -> list[np.ndarray[Any, Any]]:
    """Return the columns of the model, joined from all parts of a table."""
    return [np.concatenate(column) for column in zip(*_parts(body, stream, given, reader, order), strict=True)]


def _parts(
    body: bytes, stream: Stream, given: list[Column], reader: RowReader, order: list[int | None]
) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Yield the columns of the model from each part of a table."""
    for at in order:
        if at is not None and not _read(given[at]):
            raise _unknown(given[at])
    if sum(message.kind != ROWS for message in stream.parts) > _MOST_DICTIONARIES:
        raise TableError(f"it has more than {_MOST_DICTIONARIES} dictionaries; send each once")
    dictionaries: dict[int, np.ndarray[Any, Any]] = {}
    coded = {column.dictionary: column for column in given if column.dictionary is not None}
    for message in stream.parts:
        if message.kind == ROWS:
            part = part_of(body, message)
            found = values_of(body, message, part, given, dictionaries)
            picked = [None if at is None else found[at] for at in order]
            yield [
                _absent(decoder, part.rows) if values is None else values
                for decoder, values in zip(reader.decoders, picked, strict=True)
            ]
            continue
        number, is_more = dictionary_of(body, message)
        if number not in coded:
            raise TableError("it has a dictionary that no column uses")
        values = texts_of(body, message, coded[number])
        dictionaries[number] = np.append(dictionaries[number], values) if is_more and number in dictionaries else values


def _read(column: Column) -> bool:
    return column.kind == "text" if column.dictionary is not None else bool(column.kind)


def _order(reader: RowReader, columns: list[Column]) -> list[int | None]:
    """Return the position of each column of the model in the table, None for an optional one that is missing."""
    given = {column.name: at for at, column in enumerate(columns)}
    known = [column.name for column in reader.columns]
    unknown = list(islice((name for name in given if name not in reader.names), _MOST_ERRORS))
    missing = [each.name for each in reader.columns if each.name not in given and not each.optional][:_MOST_ERRORS]
    if unknown or missing:
        told = [FieldError(_field(name), f"unknown column; the model has {listed(known)}") for name in unknown]
        told += [FieldError(_field(name), "the column is missing") for name in missing]
        raise InvalidInputError(*told[:_MOST_ERRORS])
    if len(given) < len(columns) or len(set(known)) < len(known):
        raise _wrong("", "two columns have the same name, so they cannot be told apart")
    return [given.get(name) for name in known]


def _absent(decoder: Decoder, rows: int) -> np.ndarray[Any, Any]:
    """Return the values of a column that is missing, or has only nulls."""
    return np.full(rows, "", dtype=object) if decoder.column.kind == "category" else np.full(rows, np.nan)


def written(result: Matrix, spec: ModelSpec) -> bytes:
    """Return the results of a model as a table with `prediction`, and `probability` if there is one."""
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
    """Yield each column of the answer: its name, its type, and its buffers."""
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
        yield "prediction", "string", [None, *_texts([str(label).encode() for label in classes], best)]
    if spec.labels != "only":
        yield "probability", number, [None, result[np.arange(len(result)), best]]


def _texts(labels: list[bytes], best: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], bytes]:
    """Return the end of the label of each row, and the labels of all rows joined."""
    lengths = np.array(list(map(len, labels)), dtype=np.int32)
    ends = np.zeros(len(best) + 1, dtype=np.int32)
    lengths.take(best).cumsum(dtype=np.int32, out=ends[1:])
    longest = max(map(len, labels))
    if not 0 < longest <= _LONGEST_LABEL:
        return ends, b"".join(map(labels.__getitem__, best.tolist()))
    # Pad the labels to one length, then remove the padding byte, which is never part of UTF-8 text.
    filled = b"".join(label.ljust(longest, _FILLING) for label in labels)
    return ends, np.frombuffer(filled, f"V{longest}").take(best).tobytes().translate(None, _FILLING)


def _field(name: str) -> str:
    return f"columns[{shown_name(name)}]"


def _unknown(column: Column) -> InvalidInputError:
    kind = column.type if column.dictionary is None else f"dictionary of {column.type}"
    return _wrong(
        _field(column.name),
        f"its type is {kind}, which is not supported: send numbers, booleans, strings, dates or timestamps",
    )


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
