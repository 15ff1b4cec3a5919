"""Arrays of nothing but numbers, read from JSON into memory at once.

Lists of Python's numbers take most of the time that a batch takes. simdjson (Langdale and Lemire, Parsing Gigabytes of
JSON per Second, 2019) writes what it parses into one buffer. Whatever is not clearly an array of numbers gives None
here, and is read, or refused in words, one value after the other.
"""

import numpy as np
import simdjson
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# For fewer bytes, the calls take longer than the values.
SHORTEST = 512
_OF_NUMBERS = b"0123456789.+-eE \n\r\t"


def table(text: bytes) -> Numbers | None:
    """Reads an array of rows, all of one length; shape [rows, columns]."""
    # What is left are brackets and commas, which show the shape.
    skeleton = text.translate(None, _OF_NUMBERS)
    row = skeleton[1 : skeleton.find(b"]") + 1]
    rows, rest = divmod(len(skeleton) - 1, len(row) + 1)
    if rest or skeleton != b"[" + b",".join([row] * rows) + b"]":
        return None
    values = _parsed(text)
    return values.reshape(rows, len(row) - 1) if values is not None and values.size == rows * (len(row) - 1) else None


def flat(text: bytes) -> Numbers | None:
    """Reads an array that has no arrays in it."""
    return _parsed(text) if text.count(b"[") == 1 else None


def _parsed(text: bytes) -> Numbers | None:
    try:
        # A parser cannot be used again while what it parsed is there, and costs less than to make sure of that.
        found = simdjson.Parser().parse(text)
        if not isinstance(found, simdjson.Array):
            return None
        return np.frombuffer(found.as_buffer(of_type="d"), dtype=np.float64)
    except (TypeError, ValueError):
        return None
