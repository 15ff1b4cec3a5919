"""Parses JSON arrays that contain only numbers directly into memory.

Most of the time of a batch would be spent on lists of Python numbers. simdjson (Langdale and Lemire, Parsing Gigabytes
of JSON per Second, 2019) writes the parsed numbers into one buffer. For anything that is not clearly an array of
numbers, the functions return None. The caller then parses it value by value, and explains errors.
"""

from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# For fewer bytes, the calls take longer than the values.
SHORTEST = 512
_OF_NUMBERS = b"0123456789.+-eE \n\r\t"


def table(text: bytes) -> Numbers | None:
    """Parse an array of rows of equal length; shape [rows, columns]."""
    shape = _shape(text.translate(None, _OF_NUMBERS))
    return _filled(_parsed(text), shape) if shape else None


def table_in(text: bytes, field: str) -> Numbers | None:
    """Parse such an array that is the only field of an object."""
    skeleton = text.translate(None, _OF_NUMBERS)
    # The skeleton of a name lacks the letters that also occur in numbers, so the real name is checked after parsing.
    before = b'{"%s":' % field.encode().translate(None, _OF_NUMBERS)
    shape = _shape(skeleton[len(before) : -1]) if skeleton.startswith(before) and skeleton.endswith(b"}") else None
    if not shape:
        return None
    found = _parsed(text)
    if not isinstance(found, simdjson.Object) or list(found) != [field]:
        return None
    return _filled(found[field], shape)


def flat(text: bytes) -> Numbers | None:
    """Parse an array without arrays in it."""
    return _values(_parsed(text)) if text.count(b"[") == 1 else None


def _shape(skeleton: bytes) -> tuple[int, int] | None:
    """Return the shape of a table from its brackets and commas; None if rows differ in length."""
    row = skeleton[1 : skeleton.find(b"]") + 1]
    rows, rest = divmod(len(skeleton) - 1, len(row) + 1)
    return (rows, len(row) - 1) if not rest and skeleton == b"[%s]" % ((row + b",") * rows)[:-1] else None


def _parsed(text: bytes) -> Any:
    try:
        # A parser cannot be used again while its result exists. A new one costs less than a check.
        return simdjson.Parser().parse(text)
    except ValueError:
        return None


def _values(found: Any) -> Numbers | None:
    if not isinstance(found, simdjson.Array):
        return None
    try:
        return np.frombuffer(found.as_buffer(of_type="d"), dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _filled(found: Any, shape: tuple[int, int]) -> Numbers | None:
    values = _values(found)
    return values.reshape(shape) if values is not None and values.size == shape[0] * shape[1] else None
