"""MLflow's scoring protocol: callers of `mlflow models serve` only change the address."""

import msgspec

from serving import scoring
from serving.api.body import BodyReader
from serving.api.handlers import About, answered
from serving.api.predict import made_by
from serving.api.routes import Answer, Call
from serving.models import Models
from serving.predictor import Predictor
from serving.schemas import Ready
from serving.scoring import InvocationResponse
from serving.writing import named_in


class Invocations:
    """Answers like MLflow's scoring server, with the main model."""

    def __init__(self, predictor: Predictor, models: Models, about: About, bodies: BodyReader, version: str) -> None:
        self._predictor = predictor
        self._models = models
        self._about = about
        self._bodies = bodies
        self._version = Answer(version.encode(), b"text/plain; charset=utf-8")

    async def invocations(self, call: Call) -> Answer:
        """Answer each row of a table with a class or a number, as `mlflow models serve` does.

        Columns that the model does not know are ignored, NaN means null, and `params` has no effect on these models.
        """
        field, given = scoring.parse(await self._bodies.read(call))
        self._predictor.check_count(scoring.rows_in(given), field)
        model = self._models.main.latest()
        rows = self._predictor.read(model, lambda found: scoring.read(model.reader, field, found), given)
        del given
        result = await self._predictor.infer(model, rows, f"{field}[{{}}]")
        predictions = named_in(result, model.spec)
        return Answer(msgspec.json.encode(InvocationResponse(predictions)), headers=made_by(model))

    async def ping(self, _: Call) -> Answer:
        """Answer 200 when the process accepts requests."""
        self._about.require_ready()
        return answered(Ready())

    async def version(self, _: Call) -> Answer:
        """Return the version of this server."""
        return self._version
