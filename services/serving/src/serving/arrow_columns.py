"""The values of the columns of an Arrow IPC stream, each copied from where it lies, within its message's own bytes.

Arrow's columnar format says how: a bit a row where there are nulls, then the values; of texts, their ends before them.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from serving.arrow_messages import Message, Part, TableError, part_of
from serving.arrow_schema import Column
from serving.decoding import shown_name

Values = np.ndarray[Any, Any]

# From here on, doubles do not tell a whole number from its neighbours.
_MOST_EXACT = 2**53


def values_of(
    body: bytes, message: Message, part: Part, columns: list[Column], dictionaries: dict[int, Values]
) -> list[Values | None]:
    """Copy the values of all columns of a message of rows: NaN or an empty text for null; None of a column of nulls.

    Raises:
        TableError: when a column does not fit the schema, or leads out of the message.
    """
    counts = [_buffers(column) for column in columns]
    if len(part.columns) != len(columns) or len(part.buffers) != sum(counts) or (part.columns[:, 0] != part.rows).any():
        raise TableError("the columns of a batch differ from its schema")
    found: list[Values | None] = []
    first, listed = 0, part.buffers.tolist()
    for column, nulls, count in zip(columns, part.columns[:, 1].tolist(), counts, strict=True):
        buffers = [bytes_at(body, message, each) for each in listed[first : first + count]]
        found.append(_values(column, part.rows, _nulls(buffers, nulls, part.rows), buffers, dictionaries))
        first += count
    return found


def texts_of(body: bytes, message: Message, column: Column) -> Values:
    """Copy the texts of a dictionary.

    Raises:
        TableError: when they are something else, or lead out of the message.
    """
    part = part_of(body, message)
    if column.kind != "text" or len(part.columns) != 1 or len(part.buffers) != 3 or part.columns[0, 0] != part.rows:
        raise TableError(f"the dictionary of column {shown_name(column.name)} has no texts")
    buffers = [bytes_at(body, message, each) for each in part.buffers.tolist()]
    if part.rows:
        # Before anything is made of that size: a dictionary is no row, so what it promises is within no other bound.
        _ends(column, part.rows, buffers)
    return _texts(column, part.rows, _nulls(buffers, int(part.columns[0, 1]), part.rows), buffers)


def bytes_at(body: bytes, message: Message, buffer: list[int]) -> memoryview:
    """Give the bytes of a buffer, [offset, length].

    Raises:
        TableError: when they are not all in its message.
    """
    offset, length = buffer
    start = message.body + offset
    if offset < 0 or length < 0 or start + length > message.end:
        raise TableError("a column of it points outside its message")
    return memoryview(body)[start : start + length]


def fixed(values: memoryview, dtype: np.dtype[Any], rows: int) -> Values:
    """Read so many values of one size; the array shares their memory.

    Raises:
        TableError: when there are fewer.
    """
    if len(values) < rows * dtype.itemsize:
        raise TableError("a column of it has fewer values than rows")
    return np.frombuffer(values, dtype, rows) if rows else np.zeros(0, dtype)


def _buffers(column: Column) -> int:
    if column.dictionary is not None:
        return 2
    return {"text": 3, "null": 0}.get(column.kind, 2)


def _values(
    column: Column, rows: int, null: Values, buffers: list[memoryview], dictionaries: dict[int, Values]
) -> Values | None:
    if column.dictionary is not None:
        return _of_dictionary(column, fixed(buffers[1], np.dtype(column.places), rows), null, dictionaries)
    if column.kind == "null":
        return None
    if column.kind == "text":
        return _texts(column, rows, null, buffers)
    if column.kind == "bool":
        bits = _bits(buffers[1], rows)
        return np.where(null, np.nan, bits) if null.any() else bits
    values = fixed(buffers[1], np.dtype(column.stored), rows)
    if column.kind == "number":
        return _numbers(values, null)
    seconds = values / column.in_a_second
    seconds[null] = np.nan
    return seconds


def _of_dictionary(column: Column, given: Values, null: Values, dictionaries: dict[int, Values]) -> Values:
    known = np.append(dictionaries.get(column.dictionary or 0, np.zeros(0, object)), "")
    places = np.where(null, len(known) - 1, given)
    if not (((given >= 0) & (given < len(known) - 1)) | null).all():
        raise TableError(f"column {shown_name(column.name)} has an index that its dictionary does not have")
    texts: Values = known[places.astype(np.int64)]
    return texts


def _nulls(buffers: list[memoryview], nulls: int, rows: int) -> Values:
    if nulls == 0 or not buffers:
        return np.zeros(rows, dtype=bool)
    return ~_bits(buffers[0], rows)


def _bits(values: memoryview, rows: int) -> Values:
    if 8 * len(values) < rows:
        raise TableError("a column of it has fewer values than rows")
    return np.unpackbits(np.frombuffer(values, np.uint8), count=rows, bitorder="little").astype(bool)


def _numbers(values: Values, null: Values) -> Values:
    if values.dtype.kind != "f" and not null.any():
        return values.copy()
    found = values.astype(np.float64)
    if values.dtype.itemsize == 8 and values.dtype.kind != "f":
        # What doubles cannot tell from its neighbours is refused, as it is where there is no null.
        found[(values > _MOST_EXACT) | (values < -_MOST_EXACT if values.dtype.kind == "i" else False)] = np.inf
    found[null] = np.nan
    return found


def _ends(column: Column, rows: int, buffers: list[memoryview]) -> Values:
    """Where each of some texts ends, behind where the first one begins."""
    return fixed(buffers[1], np.dtype(column.stored), rows + 1)


def _texts(column: Column, rows: int, null: Values, buffers: list[memoryview]) -> Values:
    if not rows:
        return np.zeros(0, dtype=object)
    ends = _ends(column, rows, buffers)
    texts: Values = np.full(rows, "", dtype=object)
    content = bytes(buffers[2])
    if ends[0] < 0 or ends[-1] > len(content) or (ends[1:] < ends[:-1]).any():
        raise TableError(f"column {shown_name(column.name)} has texts with invalid offsets")
    try:
        texts[:] = [content[start:end].decode() for start, end in pairwise(ends.tolist())]
    except UnicodeDecodeError:
        raise TableError("a text is not UTF-8") from None
    texts[null] = ""
    return texts
