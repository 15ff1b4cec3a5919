"""POST /predict, and /v2's `infer` and what it says of models: everything that a model answers."""

import asyncio
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from serving.api.body import ARROW, JSON_TYPES, BodyReader, media_type, read_request
from serving.api.handlers import answered
from serving.api.problems import RefusedError
from serving.api.routes import JSON, Answer, Call, Headers
from serving.loader import LoadedModel
from serving.models import Models
from serving.openinference import mapping, messages
from serving.openinference.rows import rows as rows_of
from serving.predictor import Predictor
from serving.schemas import ModelReady, ServerMetadata
from serving.versions.base import LATEST, VersionManager

_BINARY = b"application/octet-stream"
_TENSOR_TYPES = JSON_TYPES | {_BINARY}
# Imported when the first table comes.
_ARROW = "serving.arrow"
_HEADER_LENGTH = b"inference-header-content-length"
_encoder = msgspec.json.Encoder()


class Predictions:
    """Answers with what models say, each answer with the registry number of the version that made it."""

    def __init__(
        self, predictor: Predictor, models: Models, bodies: BodyReader, max_rows: int, server_version: str
    ) -> None:
        self._predictor = predictor
        self._max_rows = max_rows
        self._arrow: Any = None
        self._table_types = JSON_TYPES | {ARROW} if find_spec("nanoarrow") else JSON_TYPES
        self._models = models
        self._bodies = bodies
        self._server = ServerMetadata("serving", server_version, ["binary_tensor_data"])

    async def predict(self, call: Call) -> Answer:
        """`features` is answered by one prediction, `instances` by a list in the same order.

        The columns shown are those of the version that `latest` means. Where the server has the extra for it, rows may
        also come as a table (application/vnd.apache.arrow.stream), which is answered by one, unless `Accept` names
        application/json.
        """
        if media_type(call.headers) == ARROW:
            return await self._table(call)
        # Nothing here holds on to the request: its lists take ten times the memory of the matrix that is made of them.
        model, answer = await self._predictor.predict(read_request(await self._bodies.read(call)))
        return Answer(_encoder.encode(answer), headers=made_by(model))

    async def _table(self, call: Call) -> Answer:
        """Answers a table of Arrow's, by its columns' names."""
        body = await self._bodies.read(call, self._table_types)
        if self._arrow is None:
            # Not on the event loop, for it takes a moment. Whoever comes meanwhile waits for the same.
            self._arrow = await asyncio.to_thread(import_module, _ARROW)
        start = time.perf_counter()
        model = self._models.main.latest()
        rows = self._predictor.read(model, lambda table: self._arrow.read(table, model.reader, self._max_rows), body)
        del body
        if JSON in call.headers.get(b"accept", b""):
            return Answer(_encoder.encode(await self._predictor.batch(model, rows, start)), headers=made_by(model))
        result = await self._predictor.infer(model, rows, "row {}")
        return Answer(self._arrow.written(result, model.spec), ARROW, headers=made_by(model))

    async def infer(self, call: Call) -> Answer:
        """Tensors may also travel as bytes behind the JSON, as Triton's binary tensor data extension has it.

        Then the media type is application/octet-stream, and the header Inference-Header-Content-Length tells how long
        the JSON is.
        """
        body = await self._bodies.read(call, _TENSOR_TYPES)
        request = messages.parse(body, _header_length(call))
        model = await self._model(call)
        rows = self._predictor.read(model, lambda tensors: rows_of(model, tensors), request.tensors)
        result = await self._predictor.infer(model, rows, "inputs[{}]")
        outputs = mapping.outputs(model, result)
        answer, length = messages.write(request, model.name, model.release or model.version, outputs)
        if length is None:
            return Answer(answer, headers=made_by(model))
        return Answer(answer, _BINARY, headers=(*made_by(model), (_HEADER_LENGTH, b"%d" % length)))

    async def server_metadata(self, _: Call) -> Answer:
        """Says what this server is."""
        return answered(self._server)

    async def model_ready(self, call: Call) -> Answer:
        """Answers once the version is loaded; to ask is what loads a version that is not."""
        return answered(ModelReady((await self._model(call)).name))

    async def model_metadata(self, call: Call) -> Answer:
        """Says what the model takes and gives."""
        model = await self._model(call)
        loaded = sorted((each.version for each in self._versions(call).loaded), key=int)
        return answered(mapping.metadata(model, loaded))

    def _versions(self, call: Call) -> VersionManager:
        return self._models.find(call.parameters["model_name"])

    async def _model(self, call: Call) -> LoadedModel:
        return await self._predictor.model(self._versions(call), call.parameters.get("model_version", LATEST))


def made_by(model: LoadedModel) -> Headers:
    """The header that tells which version made an answer."""
    return ((b"x-model-version", model.version.encode()),)


def _header_length(call: Call) -> int | None:
    value = call.headers.get(_HEADER_LENGTH)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise RefusedError(400, "Inference-Header-Content-Length must be a number of bytes.")
    return int(value)
