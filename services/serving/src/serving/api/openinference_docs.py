"""What the OpenAPI document says of the Open Inference Protocol."""

from collections.abc import Sequence
from typing import Any

import msgspec

from serving.api.openinference import (
    MODEL,
    ROOT,
    VERSION,
    Error,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from serving.loader import LoadedModel
from serving.openinference.mapping import FEATURES, ModelMetadata, example
from serving.openinference.messages import InferRequest, InferResponse
from serving.openinference.tensors import DATATYPES

V2_STRUCTS: tuple[type[msgspec.Struct], ...] = (
    Error,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)

_ERRORS = {
    400: "The body is not what the protocol says, or not what the model takes",
    404: "This deployment has no such model or version",
    408: "The body came too slowly",
    413: "The body is too long, or has too many rows",
    415: "The body has another media type, or is compressed",
    500: "Something that was not foreseen",
    503: "The model is not loaded yet, or the named version cannot be had now",
}
_READING = (404, 500, 503)
_BINARY_NOTE = (
    "Tensors may also travel as bytes behind the JSON, as Triton's binary tensor data extension has it: then the media "
    "type is application/octet-stream, and the header Inference-Header-Content-Length tells how long the JSON is."
)


def refine_v2(schemas: dict[str, Any], models: Sequence[LoadedModel]) -> None:
    """Says what the structs cannot: what a tensor's data is, and how the inputs of the models are called."""
    tensor = schemas["InputTensor"]["properties"]
    value = {"type": ["number", "boolean"]}
    tensor["data"] = {"type": "array", "items": {"anyOf": [value, {"type": "array", "items": value}]}}
    tensor["datatype"] = {"enum": [name for name in DATATYPES if name != "BYTES"]}
    schemas["OutputTensor"]["properties"]["datatype"] = {"enum": list(DATATYPES)}
    if models:
        columns = dict.fromkeys(column.name for model in models for column in model.spec.columns)
        tensor["name"] = {"enum": list(dict.fromkeys([FEATURES, *columns]))}


def v2_paths(names: Sequence[str], main: LoadedModel | None) -> dict[str, Any]:
    """Describes every path under /v2, with an example for the first of the models, `main`, once it is loaded."""
    name = _parameter("model_name", {"enum": list(names)}, "The registered model")
    version_schema = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
    version = _parameter("model_version", version_schema, "A registry number, an alias, a release tag, or `latest`")
    paths: dict[str, Any] = {
        ROOT: {"get": _reading("ServerMetadata", "What this server is", (500,))},
        f"{ROOT}/health/live": {"get": _reading("ServerLive", "Whether the process answers", (500,))},
        f"{ROOT}/health/ready": {"get": _reading("ServerReady", "Whether to send requests here", (500, 503))},
    }
    for path, parameters in ((MODEL, [name]), (VERSION, [name, version])):
        whose = "named version of the model" if path == VERSION else "version that `latest` means"
        more = {"parameters": parameters}
        paths |= {
            path: {"get": _reading("ModelMetadata", f"Inputs and outputs of the {whose}", _READING) | more},
            f"{path}/ready": {"get": _reading("ModelReady", f"Whether the {whose} is loaded", _READING) | more},
            f"{path}/infer": {"post": _inference(f"Predictions of the {whose}", main) | more},
        }
    return paths


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def _reading(answer: str, summary: str, errors: tuple[int, ...]) -> dict[str, Any]:
    return {"tags": ["open inference"], "summary": summary, "responses": _responses(answer, errors)}


def _inference(summary: str, model: LoadedModel | None) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/InferRequest"}}
    if model:
        body["example"] = example(model)
    return {
        "tags": ["open inference"],
        "summary": summary,
        "description": _BINARY_NOTE,
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": _responses("InferResponse", tuple(_ERRORS)),
    }


def _responses(answer: str, errors: tuple[int, ...]) -> dict[str, Any]:
    return {
        "200": {"description": "Yes, and what was asked for", "content": _content(answer)},
        **{str(status): {"description": _ERRORS[status], "content": _content("Error")} for status in errors},
    }


def _content(struct: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{struct}"}}}
