"""Scores Arrow tables with a model: each row gets exactly the answer that the API gives."""

from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from serving.batch.rows import read_rows
from serving.decoding import shown_name
from serving.errors import FieldError, InvalidInputError
from serving.labels import of_places, places
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec
from serving.writing import DECIMALS, numbers_of

NO_ANSWER = "the model has no finite answer to values like these"
# The default of MAX_ROWS in the API. In single precision the last digit can depend on how many rows are computed
# together: a single row, or tens of thousands, give slightly different results.
ROWS_A_RUN = 1000
ANSWERS = ("prediction", "probability", "model_name", "model_version", "model_digest")


class Scored(msgspec.Struct, frozen=True, eq=False):
    """The answers to a table as arrays. They are null for the rows in `wrong`, which has their indices and reasons."""

    prediction: pa.Array
    probability: pa.Array
    wrong: dict[int, str]


class Scorer:
    """Answers tables with one model."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.kind = _kind(model.spec)
        self.release = model.release or model.version

    @property
    def schema(self) -> pa.Schema:
        """The columns that an answered table has in addition."""
        types = dict.fromkeys(ANSWERS, pa.string()) | {"prediction": self.kind, "probability": pa.float64()}
        return pa.schema(list(types.items()))

    def check_names(self, names: Collection[str]) -> None:
        """Refuse tables that have a column with the name of an answer's column.

        Raises:
            InvalidInputError: naming the first one.
        """
        if clash := [name for name in names if name in ANSWERS]:
            raise InvalidInputError(
                FieldError(f"column {shown_name(clash[0])}", "has the name of an answer: rename it, or do not keep it")
            )

    def score(self, batch: pa.RecordBatch) -> Scored:
        """Answer each row of a table.

        Raises:
            InvalidInputError: if its columns do not fit the model.
        """
        if not batch.num_rows:
            return Scored(pa.array([], self.kind), pa.array([], pa.float64()), {})
        matrix, wrong = read_rows(batch, self.model.reader)
        fits = np.ones(batch.num_rows, dtype=bool)
        fits[list(wrong)] = False
        result = self._run(matrix)
        # Reduce over axes: with no rows, numpy cannot infer a shape.
        finite = np.isfinite(result).all(axis=tuple(range(1, result.ndim)))
        if not finite.all():
            at = np.flatnonzero(fits)
            wrong |= dict.fromkeys(at[~finite].tolist(), NO_ANSWER)
            fits[at[~finite]] = False
            result = result[finite]
        prediction, probability = self._answers(result)
        if wrong:
            where = np.full(len(fits), -1)
            where[fits] = np.arange(len(result))
            at = pa.array(where, mask=~fits)
            prediction, probability = prediction.take(at), probability.take(at)
        return Scored(prediction, probability, dict(sorted(wrong.items())))

    def columns(self, scored: Scored) -> list[pa.Array]:
        """Return the columns of `schema` for an answered table."""
        told = (self.model.name, self.release, self.model.digest)
        rows = len(scored.prediction)
        return [scored.prediction, scored.probability, *(pa.repeat(pa.scalar(text), rows) for text in told)]

    def _run(self, matrix: Matrix) -> Matrix:
        """Compute in runs of nearly equal size, so that no run has a single row unless the table has only one."""
        if not len(matrix):
            return np.empty((0, max(1, len(self.model.spec.classes))))
        runs = np.array_split(matrix, -(-len(matrix) // ROWS_A_RUN))
        return np.concatenate([self.model.runtime.run(np.ascontiguousarray(rows)) for rows in runs])

    def _answers(self, result: Matrix) -> tuple[pa.Array, pa.Array]:
        spec = self.model.spec
        if not spec.classes:
            numbers = numbers_of(result.reshape(-1)) if len(result) else []
            return pa.array(numbers, pa.float64()), pa.nulls(len(result), pa.float64())
        best = places(result, len(spec.classes)) if len(result) else np.empty(0, dtype=np.int64)
        prediction = _labels(spec, self.kind).take(pa.array(best))
        if spec.labels == "only" or not len(result):
            return prediction, pa.nulls(len(result), pa.float64())
        return prediction, pa.array(of_places(result, len(spec.classes)).astype(np.float64).round(DECIMALS))


def _kind(spec: ModelSpec) -> pa.DataType:
    if not spec.classes:
        return pa.float64()
    kinds: set[Any] = set(map(type, spec.classes))
    return pa.bool_() if kinds == {bool} else pa.int64() if kinds == {int} else pa.string()


def _labels(spec: ModelSpec, kind: pa.DataType) -> pa.Array:
    labels = [str(label) for label in spec.classes] if kind == pa.string() else list(spec.classes)
    return pa.array(labels, kind)
