"""The memory of rows that wait."""

from serving.runtimes.base import Matrix
from serving.signature import ModelSpec

# Roughly the bytes of a Python object for each value of a row with text, and of each letter.
_VALUE_BYTES = 64
_LETTER_BYTES = 4


def size_of(spec: ModelSpec, rows: Matrix) -> int:
    """Return the bytes of rows, shape [rows, columns], as they were read for a model."""
    if not spec.mixed:
        return rows.nbytes
    texts = (index for index, column in enumerate(spec.columns) if column.kind == "category")
    return rows.size * _VALUE_BYTES + _LETTER_BYTES * sum(sum(map(len, rows[:, index])) for index in texts)


def own(part: Matrix) -> Matrix:
    """Return an array that does not keep a larger one in memory, by copying it if it is a view."""
    return part if part.base is None else part.copy()
