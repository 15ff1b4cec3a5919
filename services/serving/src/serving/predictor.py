"""The data plane: from rows of values to predictions, knowing nothing of HTTP."""

import asyncio
import math
import time
from concurrent.futures import Executor

import numpy as np
from msgspec import UNSET

from serving.errors import FieldError, InvalidInputError, TooManyRowsError
from serving.features import many_rows, one_row
from serving.loader import LoadedModel
from serving.metrics import Metrics
from serving.runtimes.base import Matrix
from serving.schemas import BatchResponse, Prediction, PredictRequest, PredictResponse
from serving.signature import Label
from serving.versions.base import LATEST, VersionManager


class Predictor:
    """Answers requests with the model that they ask for."""

    def __init__(self, versions: VersionManager, metrics: Metrics, workers: Executor, max_rows: int) -> None:
        self._versions = versions
        self._metrics = metrics
        self._workers = workers
        self._max_rows = max_rows

    async def predict(self, request: PredictRequest) -> PredictResponse | BatchResponse:
        """Answers one request.

        Raises:
            InvalidInputError: when its rows do not fit the model, or the model has no finite answer to one.
            TooManyRowsError: when there are more rows than allowed.
            ServingError: when the model is not to be had (see `VersionManager.get`).
        """
        start = time.perf_counter()
        features, instances, version = request.features, request.instances, request.model_version
        model = self._versions.latest() if version == LATEST else await self._versions.get(version)
        if features is not UNSET and instances is UNSET:
            [answer] = await self.infer(model, one_row(model.spec, features, model.runtime.dtype), "features")
            return PredictResponse(answer.prediction, answer.probability, model.version, _milliseconds_since(start))
        if features is not UNSET or instances is UNSET:
            raise InvalidInputError(
                FieldError("features", "expected either `features` (one row) or `instances` (many)")
            )
        if len(instances) > self._max_rows:
            raise TooManyRowsError(
                f"instances: {len(instances)} rows, but at most {self._max_rows} are answered at once"
            )
        answers = await self.infer(model, many_rows(model.spec, instances, model.runtime.dtype), "instances[{}]")
        return BatchResponse(answers, model.version, _milliseconds_since(start))

    async def infer(self, model: LoadedModel, rows: Matrix, name: str) -> list[Prediction]:
        """Runs a model over a matrix of shape [rows, columns], in a worker thread when that takes long.

        `name` is what the request calls a row, with `{}` in place of its index; an error says it.

        Raises:
            InvalidInputError: when a row's result is not finite, as very large values may cause.
        """
        start = time.perf_counter()
        if len(rows) <= model.inline_rows:
            result = model.runtime.run(rows)
        else:
            result = await asyncio.get_running_loop().run_in_executor(self._workers, model.runtime.run, rows)
        seconds = time.perf_counter() - start
        predictions = _classified(result, model.spec.classes, name) if model.spec.classes else _estimated(result, name)
        self._metrics.predicted(model, predictions, seconds)
        return predictions


# Both turn arrays into lists first: for the few numbers of a row, numpy's calls cost more than they save.


def _classified(result: Matrix, classes: tuple[Label, ...], name: str) -> list[Prediction]:
    predictions: list[Prediction] = []
    for probabilities in result.tolist():
        if not math.isfinite(sum(probabilities)):
            raise _no_answer(name, len(predictions))
        best = max(probabilities)
        predictions.append(Prediction(classes[probabilities.index(best)], round(best, 6)))
    return predictions


def _estimated(result: Matrix, name: str) -> list[Prediction]:
    predictions: list[Prediction] = []
    for value in result.tolist():
        if not math.isfinite(value):
            raise _no_answer(name, len(predictions))
        # Single precision has seven digits; the others are left over from its conversion.
        predictions.append(Prediction(float(f"{value:.7g}") if result.dtype == np.float32 else value, None))
    return predictions


def _no_answer(name: str, index: int) -> InvalidInputError:
    return InvalidInputError(FieldError(name.format(index), "the model has no finite answer to values like these"))


def _milliseconds_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
