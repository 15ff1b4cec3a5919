"""The Open Inference Protocol over HTTP: everything under /v2, with errors in the protocol's own form.

One ASGI application with a router of its own, like /predict, and for the same reason.
"""

from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
from litestar.types import HTTPScope, Receive, Scope, Send

from serving.api.body import JSON_TYPES, BodyReader, ClientGoneError
from serving.api.draining import Draining
from serving.api.problems import RefusedError, headers_of, request_id, send_body, told
from serving.errors import InvalidInputError, NotReadyError
from serving.models import Models
from serving.openinference import mapping, messages
from serving.predictor import Predictor
from serving.versions.base import LATEST, VersionManager

ROOT = "/v2"
MODEL = "/v2/models/{model_name}"
VERSION = "/v2/models/{model_name}/versions/{model_version}"

_JSON = "application/json"
_BINARY = "application/octet-stream"
_MEDIA_TYPES = JSON_TYPES | {_BINARY.encode()}
_HEADER_LENGTH = "inference-header-content-length"


class Error(msgspec.Struct, frozen=True):
    """Any error, as the protocol has it."""

    error: str


class ServerLive(msgspec.Struct, frozen=True):
    """The process answers."""

    live: bool = True


class ServerReady(msgspec.Struct, frozen=True):
    """Every model is loaded, and requests are welcome."""

    ready: bool = True


class ModelReady(msgspec.Struct, frozen=True):
    """The model, or this version of it, is loaded."""

    name: str
    ready: bool = True


class ServerMetadata(msgspec.Struct, frozen=True):
    """What this server is, and which of the protocol's extensions it knows."""

    name: str
    version: str
    extensions: list[str]


class OpenInference:
    """The application under /v2, for all models and their versions."""

    def __init__(
        self,
        predictor: Predictor,
        models: Models,
        draining: Draining,
        bodies: BodyReader,
        server_version: str,
    ) -> None:
        self._predictor = predictor
        self._models = models
        self._draining = draining
        self._server = ServerMetadata("serving", server_version, ["binary_tensor_data"])
        self._bodies = bodies
        self._about_server: dict[str, Callable[[], Awaitable[msgspec.Struct]]] = {
            "": self._server_metadata,
            "health/live": self._server_live,
            "health/ready": self._server_ready,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        try:
            await self._route(cast("HTTPScope", scope), receive, send)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  (answered here, in the protocol's form)
            await send_error(scope, send, error)

    async def _route(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Finds what a path means, and notes its template for the metrics."""
        path = scope["path"].removeprefix(ROOT).strip("/")
        if path in self._about_server:
            scope["path_template"] = f"{ROOT}/{path}".rstrip("/")
            await _read(scope, send, self._about_server[path])
            return
        match path.split("/"):
            case ["models", name, "versions", version, *rest]:
                template = VERSION
            case ["models", name, *rest]:
                template, version = MODEL, LATEST
            case _:
                raise _nothing()
        what = "/".join(rest)
        if what not in {"", "ready", "infer"}:
            raise _nothing()
        scope["path_template"] = f"{template}/{what}".rstrip("/")
        versions = self._models.find(name)
        if what == "infer":
            await self._infer(scope, receive, send, versions, version)
        else:
            about = self._model_ready if what == "ready" else self._model_metadata
            await _read(scope, send, lambda: about(versions, version))

    async def _server_metadata(self) -> ServerMetadata:
        return self._server

    async def _server_live(self) -> ServerLive:
        return ServerLive()

    async def _server_ready(self) -> ServerReady:
        if self._draining.active:
            raise NotReadyError("The process has been told to stop.")
        self._models.require_all()
        return ServerReady()

    async def _model_ready(self, versions: VersionManager, version: str) -> msgspec.Struct:
        """Answers once the version is loaded; to ask is what loads a version that is not."""
        model = await self._predictor.model(versions, version)
        return ModelReady(model.name)

    async def _model_metadata(self, versions: VersionManager, version: str) -> msgspec.Struct:
        model = await self._predictor.model(versions, version)
        return mapping.metadata(model, sorted((loaded.version for loaded in versions.loaded), key=int))

    async def _infer(
        self, scope: HTTPScope, receive: Receive, send: Send, versions: VersionManager, version: str
    ) -> None:
        body = await self._bodies.read(scope, receive, _MEDIA_TYPES)
        request = messages.parse(body, _header_length(scope))
        model = await self._predictor.model(versions, version)
        rows = mapping.rows(model, request.tensors)
        result = await self._predictor.infer(model, rows, "inputs[{}]")
        outputs = mapping.outputs(model, result)
        answer, length = messages.write(request, model.name, model.version, outputs)
        if length is None:
            await send_body(send, 200, _JSON, answer)
        else:
            await send_body(send, 200, _BINARY, answer, {_HEADER_LENGTH: str(length)})


async def send_error(scope: Scope, send: Send, error: Exception) -> None:
    """Answers with an error in the protocol's form."""
    status, detail, headers = told(error, request_id(scope))
    # Whatever is wrong with a tensor is a bad request to this protocol.
    status = 400 if isinstance(error, InvalidInputError) else status
    await send_body(send, status, _JSON, msgspec.json.encode(Error(detail)), headers)


def _header_length(scope: HTTPScope) -> int | None:
    value = headers_of(scope).get(_HEADER_LENGTH.encode())
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise RefusedError(400, "Inference-Header-Content-Length must be a number of bytes.")
    return int(value)


async def _read(scope: HTTPScope, send: Send, answer: Callable[[], Awaitable[msgspec.Struct]]) -> None:
    if scope["method"] != "GET":
        raise RefusedError(405, "This resource knows only GET.", {"allow": "GET"})
    await send_body(send, 200, _JSON, msgspec.json.encode(await answer()))


def _nothing() -> RefusedError:
    return RefusedError(404, "There is nothing here; /docs lists what there is.")
