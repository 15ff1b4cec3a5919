"""The data plane: from rows of values to predictions, knowing nothing of HTTP."""

import math
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
from msgspec import UNSET

from serving.admission import Admission
from serving.batching import Batcher
from serving.errors import FieldError, InvalidInputError, TooManyRowsError
from serving.loader import LoadedModel
from serving.runtimes.base import Matrix
from serving.schemas import NumbersRequest, Prediction, PredictRequest, PredictResponse, WrittenBatch
from serving.signature import ModelSpec
from serving.versions.base import LATEST, VersionManager
from serving.writing import DECIMALS, numbers_of, predictions_of, written

_T = TypeVar("_T")
UnknownListener = Callable[[str, str], None]


class Predictor:
    """Answers requests with the model that they ask for; those that name only a version, with one of `main`.

    `on_unknown` is told the model and the column of each category for which a row is refused.
    """

    def __init__(
        self, main: VersionManager, batcher: Batcher, admission: Admission, max_rows: int, on_unknown: UnknownListener
    ) -> None:
        self._main = main
        self._on_unknown = on_unknown
        self._batcher = batcher
        self._admission = admission
        self._max_rows = max_rows

    async def predict(
        self, request: PredictRequest | NumbersRequest
    ) -> tuple[LoadedModel, PredictResponse | WrittenBatch]:
        """Answers one request, and tells by which model.

        Raises:
            InvalidInputError: when its rows do not fit the model, or the model has no finite answer to one.
            TooManyRowsError: when there are more rows than allowed.
            ServingError: when the model is not to be had (see `VersionManager.get`).
        """
        start = time.perf_counter()
        version = request.model_version
        model = self._main.latest() if version == LATEST else await self.model(self._main, version)
        if isinstance(request, NumbersRequest):
            self.check_count(len(request.instances), "instances")
            if (rows := model.reader.of_numbers(request.instances)) is not None:
                return model, await self.batch(model, rows, start)
            request = request.by_value()
        features, instances = request.features, request.instances
        if features is not UNSET and instances is UNSET:
            result = await self._batcher.run(model, self.read(model, model.reader.one, features))
            answer = _one(result, model.spec)
            return model, PredictResponse(
                answer.prediction, answer.probability, model.release or model.version, _milliseconds_since(start)
            )
        if features is not UNSET or instances is UNSET:
            raise not_one_of_both()
        self.check_count(len(instances), "instances")
        rows = self.read(model, model.reader.many, instances)
        # As lists they take ten times the memory, and many requests may wait together.
        del request, instances
        return model, await self.batch(model, rows, start)

    async def batch(self, model: LoadedModel, rows: Matrix, start: float) -> WrittenBatch:
        """Answers a matrix of shape [rows, columns] that came in at some time of `perf_counter` (see `infer`)."""
        result = await self.infer(model, rows, "instances[{}]")
        predictions = msgspec.Raw(written(result, model.spec))
        return WrittenBatch(predictions, model.release or model.version, _milliseconds_since(start))

    async def model(self, versions: VersionManager, version: str) -> LoadedModel:
        """Finds the version of a model that a request names (see `VersionManager.get`)."""
        with self._admission.parked():
            return await versions.get(version)

    def check_count(self, rows: int, field: str) -> None:
        """Makes sure that a field has not too many rows, before they are read: that may take many times their room.

        Raises:
            TooManyRowsError: when it has.
        """
        if rows > self._max_rows:
            raise TooManyRowsError(f"{field}: {rows} rows, but at most {self._max_rows} are answered at once")

    def read(self, model: LoadedModel, how: Callable[[_T], Matrix], rows: _T) -> Matrix:
        """Reads the rows of a request for a model, and counts the categories for which it refuses them.

        Raises:
            InvalidInputError: when they do not fit the model.
        """
        try:
            return how(rows)
        except InvalidInputError as error:
            for each in error.errors:
                if each.unknown_in:
                    self._on_unknown(model.name, each.unknown_in)
            raise

    async def infer(self, model: LoadedModel, rows: Matrix, name: str) -> Matrix:
        """Runs a model over a matrix of shape [rows, columns].

        `name` is what the request calls a row, with `{}` instead of its index; errors use it.

        Returns:
            Probabilities [rows, classes] or predicted numbers [rows], all of them finite.

        Raises:
            InvalidInputError: when the result for a row is not finite, as very large values may cause.
            TooManyRowsError: when there are more rows than allowed.
        """
        self.check_count(len(rows), name.partition("[{}]")[0])
        result = await self._batcher.run(model, rows)
        finite = np.isfinite(result)
        if not finite.all():
            index = int(finite.reshape(len(rows), -1).all(axis=1).argmin())
            raise _no_answer(name.format(index))
        return result


def _one(result: Matrix, spec: ModelSpec) -> Prediction:
    """Reads the result for one row, as lists: for so few numbers, numpy's calls cost more than they save."""
    [values] = result.tolist()
    classes = spec.classes
    if not classes:
        if not math.isfinite(values):
            raise _no_answer("features")
        return Prediction(numbers_of(result)[0], None)
    if not math.isfinite(sum(values)):
        raise _no_answer("features")
    if spec.labels == "largest":
        best = max(values)
        return Prediction(classes[values.index(best)], round(best, DECIMALS))
    return predictions_of(result, spec)[0]


def not_one_of_both() -> InvalidInputError:
    """What a request with both or neither of `features` and `instances` is told."""
    return InvalidInputError(FieldError("features", "expected either `features` (one row) or `instances` (many)"))


def _no_answer(field: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, "the model has no finite answer to values like these"))


def _milliseconds_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
