"""POST /predict and /v2: predictions, and what /v2 says about the models."""

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
# Imported when the first table arrives.
_ARROW = "serving.arrow"
_HEADER_LENGTH = b"inference-header-content-length"
_encoder = msgspec.json.Encoder()


class Predictions:
    """Answers with predictions, each with the registry number of the version that made it."""

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
        """Predict one row (`features`), or many (`instances`): then the predictions have the order of the rows.

        The columns shown are those of the version that `latest` means. If the server has the extra for it, rows may
        also come as a table (application/vnd.apache.arrow.stream). The answer is then also a table, unless `Accept`
        names application/json.
        """
        if media_type(call.headers) == ARROW:
            return await self._table(call)
        # Nothing here keeps the request: its lists take ten times the memory of the matrix that is made from them.
        model, answer = await self._predictor.predict(read_request(await self._bodies.read(call)))
        return Answer(_encoder.encode(answer), headers=made_by(model))

    async def _table(self, call: Call) -> Answer:
        """Answer an Arrow table, by the names of its columns."""
        body = await self._bodies.read(call, self._table_types)
        if self._arrow is None:
            # Not on the event loop, because it takes a moment. Callers that come meanwhile wait for the same import.
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
        """Predict tensors. They may also come as bytes after the JSON, as in Triton's binary tensor data extension.

        Then the media type is application/octet-stream, and the header Inference-Header-Content-Length gives the
        length of the JSON.
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
        """Describe this server."""
        return answered(self._server)

    async def model_ready(self, call: Call) -> Answer:
        """Answer 200 when the version is loaded. The request loads a version that is not."""
        return answered(ModelReady((await self._model(call)).name))

    async def model_metadata(self, call: Call) -> Answer:
        """Describe the inputs and outputs of the model."""
        model = await self._model(call)
        loaded = sorted((each.version for each in self._versions(call).loaded), key=int)
        return answered(mapping.metadata(model, loaded))

    def _versions(self, call: Call) -> VersionManager:
        return self._models.find(call.parameters["model_name"])

    async def _model(self, call: Call) -> LoadedModel:
        return await self._predictor.model(self._versions(call), call.parameters.get("model_version", LATEST))


def made_by(model: LoadedModel) -> Headers:
    """Return the header that names the version that made an answer."""
    return ((b"x-model-version", model.version.encode()),)


def _header_length(call: Call) -> int | None:
    value = call.headers.get(_HEADER_LENGTH)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise RefusedError(400, "Inference-Header-Content-Length must be a number of bytes.")
    return int(value)
