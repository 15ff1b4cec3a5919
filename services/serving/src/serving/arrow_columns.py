"""The values of the columns of an Arrow IPC stream. Each read stays within the bytes of its message.

The layout is Arrow's columnar format: a bit per row if there are nulls, then the values. Texts have their ends first.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from serving.arrow_messages import Message, Part, TableError, part_of
from serving.arrow_schema import Column
from serving.decoding import shown_name

Values = np.ndarray[Any, Any]

# Above this, a double cannot represent every whole number.
_MOST_EXACT = 2**53


def values_of(
    body: bytes, message: Message, part: Part, columns: list[Column], dictionaries: dict[int, Values]
) -> list[Values | None]:
    """Copy the values of all columns of a message of rows. Null is NaN or an empty text; a column of nulls is None.

    Raises:
        TableError: if a column does not fit the schema, or points outside the message.
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
        TableError: if it does not have texts, or points outside the message.
    """
    part = part_of(body, message)
    if column.kind != "text" or len(part.columns) != 1 or len(part.buffers) != 3 or part.columns[0, 0] != part.rows:
        raise TableError(f"the dictionary of column {shown_name(column.name)} has no texts")
    buffers = [bytes_at(body, message, each) for each in part.buffers.tolist()]
    if part.rows:
        # Checked before memory of that size is allocated: the limit of rows does not apply to a dictionary.
        _ends(column, part.rows, buffers)
    return _texts(column, part.rows, _nulls(buffers, int(part.columns[0, 1]), part.rows), buffers)


def bytes_at(body: bytes, message: Message, buffer: list[int]) -> memoryview:
    """Return the bytes of a buffer, which is [offset, length].

    Raises:
        TableError: if they are not all in the message.
    """
    offset, length = buffer
    start = message.body + offset
    if offset < 0 or length < 0 or start + length > message.end:
        raise TableError("a column of it points outside its message")
    return memoryview(body)[start : start + length]


def fixed(values: memoryview, dtype: np.dtype[Any], rows: int) -> Values:
    """Read `rows` values of one size. The array shares their memory.

    Raises:
        TableError: if there are fewer values.
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
        # Numbers that a double cannot represent exactly become infinite. So they are refused, as without nulls.
        found[(values > _MOST_EXACT) | (values < -_MOST_EXACT if values.dtype.kind == "i" else False)] = np.inf
    found[null] = np.nan
    return found


def _ends(column: Column, rows: int, buffers: list[memoryview]) -> Values:
    """Return where each text ends, after the beginning of the first."""
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
