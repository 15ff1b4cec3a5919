"""The data plane: from rows of values to predictions, independent of HTTP."""

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
    """Answers requests with the model that they name. Requests that only name a version use the model `main`.

    `on_unknown` gets the model and the column of each category for which a row is refused.
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
        """Answer one request. Return the model as well.

        Raises:
            InvalidInputError: if its rows do not fit the model, or the model has no finite answer to one.
            TooManyRowsError: if it has more rows than allowed.
            ServingError: if the model is not available (see `VersionManager.get`).
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
        # Lists take ten times the memory, and many requests may wait together.
        del request, instances
        return model, await self.batch(model, rows, start)

    async def batch(self, model: LoadedModel, rows: Matrix, start: float) -> WrittenBatch:
        """Answer a matrix of shape [rows, columns] that arrived at `start`, in time of `perf_counter` (see `infer`)."""
        result = await self.infer(model, rows, "instances[{}]")
        predictions = msgspec.Raw(written(result, model.spec))
        return WrittenBatch(predictions, model.release or model.version, _milliseconds_since(start))

    async def model(self, versions: VersionManager, version: str) -> LoadedModel:
        """Return the version of a model that a request names (see `VersionManager.get`)."""
        with self._admission.parked():
            return await versions.get(version)

    def check_count(self, rows: int, field: str) -> None:
        """Make sure that a field does not have too many rows. Reading them may take many times their memory.

        Raises:
            TooManyRowsError: if it has.
        """
        if rows > self._max_rows:
            raise TooManyRowsError(f"{field}: {rows} rows, but at most {self._max_rows} are answered at once")

    def read(self, model: LoadedModel, how: Callable[[_T], Matrix], rows: _T) -> Matrix:
        """Read the rows of a request for a model, and count the unknown categories for which it refuses them.

        Raises:
            InvalidInputError: if they do not fit the model.
        """
        try:
            return how(rows)
        except InvalidInputError as error:
            for each in error.errors:
                if each.unknown_in:
                    self._on_unknown(model.name, each.unknown_in)
            raise

    async def infer(self, model: LoadedModel, rows: Matrix, name: str) -> Matrix:
        """Run a model on a matrix of shape [rows, columns].

        `name` is the name of a row in errors, with `{}` instead of its index.

        Returns:
            Probabilities [rows, classes] or predicted numbers [rows], all of them finite.

        Raises:
            InvalidInputError: if the result for a row is not finite, which very large values may cause.
            TooManyRowsError: if there are more rows than allowed.
        """
        self.check_count(len(rows), name.partition("[{}]")[0])
        result = await self._batcher.run(model, rows)
        finite = np.isfinite(result)
        if not finite.all():
            index = int(finite.reshape(len(rows), -1).all(axis=1).argmin())
            raise _no_answer(name.format(index))
        return result


def _one(result: Matrix, spec: ModelSpec) -> Prediction:
    """Return the prediction for one row. It uses lists, because for so few numbers numpy's calls cost more."""
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
    """Return the error of a request with both or neither of `features` and `instances`."""
    return InvalidInputError(FieldError("features", "expected either `features` (one row) or `instances` (many)"))


def _no_answer(field: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, "the model has no finite answer to values like these"))


def _milliseconds_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
