"""How much memory rows take that wait for something."""

from serving.runtimes.base import Matrix
from serving.signature import ModelSpec

# Roughly what Python takes for each value of a row with text, beside the letters.
_VALUE_BYTES = 64
_LETTER_BYTES = 4


def size_of(spec: ModelSpec, rows: Matrix) -> int:
    """The bytes of rows, shape [rows, columns], as they were read for a model."""
    if not spec.mixed:
        return rows.nbytes
    texts = (index for index, column in enumerate(spec.columns) if column.kind == "category")
    return rows.size * _VALUE_BYTES + _LETTER_BYTES * sum(sum(map(len, rows[:, index])) for index in texts)


def own(part: Matrix) -> Matrix:
    """An array without the larger one that it may be a part of, which it would keep in memory."""
    return part if part.base is None else part.copy()
