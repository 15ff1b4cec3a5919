"""POST /explain: how much each column contributes to an answer, if it is switched on."""

import time

import msgspec
from msgspec import UNSET

from modelformat.baseline import Baseline
from serving.admission import Admission
from serving.api.body import BodyReader, parsed
from serving.api.predict import made_by
from serving.api.routes import Answer, Call
from serving.errors import FieldError, InvalidInputError, TooManyRowsError
from serving.explaining.queue import Queue
from serving.explaining.rows import explain
from serving.explaining.tally import ExplainTally
from serving.loader import LoadedModel
from serving.models import Models
from serving.predictor import Predictor, not_one_of_both
from serving.runtimes.base import Matrix
from serving.schemas import ExplainRequest, ExplainResponse

# The most numbers in one answer. With all labels there is one for each label, column and row.
_MOST_CONTRIBUTIONS = 100_000
_decoder = msgspec.json.Decoder(ExplainRequest)
_encoder = msgspec.json.Encoder()


class Bounds(msgspec.Struct, frozen=True):
    """How many rows a request may have, and how many rows the model may compute to explain one of them."""

    rows: int
    evaluations: int


class Explaining:
    """Explains the answers of the model that /predict uses."""

    def __init__(
        self,
        predictor: Predictor,
        models: Models,
        bodies: BodyReader,
        admission: Admission,
        queue: Queue,
        bounds: Bounds,
        tally: ExplainTally,
    ) -> None:
        self._predictor = predictor
        self._models = models
        self._bodies = bodies
        self._admission = admission
        self._queue = queue
        self._bounds = bounds
        self._tally = tally

    async def explain(self, call: Call) -> Answer:
        """Explain for each row how much each column contributes to the answer of /predict, as Shapley values.

        `base` is the mean answer for rows like those of training, and `value` is the answer for the row. The
        contributions add up to the difference. For a classification, the answer is the probability of the answered
        label, or of every label with `labels: all`. With few columns the contributions are exact (`method`). With more,
        their standard error is at most `error`.
        """
        request = parsed(await self._bodies.read(call), _decoder)
        start = time.perf_counter()
        model = await self._predictor.model(self._models.main, request.model_version)
        rows = self._read(model, request)
        baseline = self._baseline(model)
        self._check_size(model, rows, request)
        every = request.labels == "all"
        # A request that waits here does not compete with predictions.
        with self._admission.parked():
            found, seconds = await self._queue.run(
                lambda check: explain(model, baseline, rows, self._bounds.evaluations, every, check)
            )
        self._tally.explained(model.name, len(rows), seconds)
        took = round((time.perf_counter() - start) * 1000, 3)
        answer = ExplainResponse(
            found.rows, "exact" if found.exact else "sampled", model.release or model.version, took
        )
        return Answer(_encoder.encode(answer), headers=made_by(model))

    async def aclose(self) -> None:
        """Stop the running work."""
        await self._queue.aclose()

    def _read(self, model: LoadedModel, request: ExplainRequest) -> Matrix:
        features, instances = request.features, request.instances
        if features is not UNSET and instances is UNSET:
            return self._predictor.read(model, model.reader.one, features)
        if features is not UNSET or instances is UNSET:
            raise not_one_of_both()
        if len(instances) > self._bounds.rows:
            raise TooManyRowsError(f"`instances` has {len(instances)} rows, but at most {self._bounds.rows} are "
                                   "explained at once.")  # fmt: skip
        return self._predictor.read(model, model.reader.many, instances)

    def _check_size(self, model: LoadedModel, rows: Matrix, request: ExplainRequest) -> None:
        labels = len(model.spec.classes) if request.labels == "all" else 1
        if rows.size * labels > _MOST_CONTRIBUTIONS:
            raise TooManyRowsError(
                f"The answer would hold {rows.size * labels} contributions, but may hold at most "
                f"{_MOST_CONTRIBUTIONS}: send fewer rows, or leave `labels` out."
            )

    def _baseline(self, model: LoadedModel) -> Baseline:
        if model.baseline is None:
            raise InvalidInputError(
                FieldError(
                    "model_version",
                    f"version {model.version} has no usable baseline.json, which explanations need; train or register "
                    "it again",
                )
            )
        return model.baseline
