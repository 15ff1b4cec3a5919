"""The OpenAPI document under /docs/openapi.json, and the page at /docs that shows it.

Litestar describes its own handlers, but not ASGI ones. /predict and what is under /v2 are added here, from the structs
that their bodies are parsed with and from the signature of the model that is served, so that the document says how long
a row must be.
"""

import re
from base64 import b64encode
from copy import deepcopy
from hashlib import sha256
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Request, Router
from litestar.datastructures import ResponseHeader
from litestar.enums import OpenAPIMediaType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

from serving.api.openinference_docs import V2_STRUCTS, refine_v2, v2_paths
from serving.api.predict import PATH
from serving.loader import LoadedModel
from serving.models import Models
from serving.schemas import BatchResponse, PredictRequest, PredictResponse, Problem
from serving.signature import Column

_REFERENCE = "#/components/schemas/"
_ERRORS = {
    400: "The body is no JSON",
    404: "This deployment has no such model version",
    408: "The body came too slowly",
    413: "The body is too long, or has too many rows",
    415: "The body has another media type, or is compressed",
    422: "The body is not what the model takes; `errors` names each field",
    500: "Something that was not foreseen",
    503: "The model is not loaded yet, or the named version cannot be had now",
}


class CompletedJson(JsonRenderPlugin):
    """Serves the document with /predict and /v2 in it."""

    def __init__(self, models: Models, max_rows: int) -> None:
        super().__init__(path="/openapi.json", media_type=OpenAPIMediaType.OPENAPI_JSON)
        self._models = models
        self._max_rows = max_rows

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002  (Litestar's)
        """Renders the document for the models that are served now."""
        return msgspec.json.encode(completed(openapi_schema, self._models, self._max_rows))


class OfflinePage(OpenAPIRenderPlugin):
    """A page that shows the document and needs nothing from any other server."""

    def __init__(self) -> None:
        super().__init__(path="/")
        self.page = files("serving.api").joinpath("docs.html").read_bytes()

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002  (Litestar's)
        """Gives the page."""
        return self.page


def page_headers(page: bytes) -> dict[str, str]:
    """Gives the headers that keep browsers from running anything in a page but what it holds, and from framing it."""
    rules = {"default-src": "'none'", "connect-src": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'"}
    for kind, part in re.findall(rb"<(script|style)>(.*?)</", page, re.DOTALL):
        rules[f"{kind.decode()}-src"] = f"'sha256-{b64encode(sha256(part).digest()).decode()}'"
    policy = "; ".join(f"{what} {allowed}" for what, allowed in rules.items())
    return {"content-security-policy": policy, "referrer-policy": "no-referrer", "x-frame-options": "DENY"}


def openapi_config(models: Models, max_rows: int, version: str) -> OpenAPIConfig:
    """Sets up Litestar's part."""
    page = OfflinePage()
    headers = [ResponseHeader(name=name, value=value) for name, value in page_headers(page.page).items()]
    return OpenAPIConfig(
        title="Prediction API",
        version=version,
        description="Predictions of scikit-learn models, with the version that made them. "
        f"/predict and /model/info are about {models.main.name}; /v2 answers for each of {', '.join(models.names)}.",
        openapi_router=Router("/docs", route_handlers=[], response_headers=headers, include_in_schema=False),
        render_plugins=[page, CompletedJson(models, max_rows)],
    )


def completed(document: dict[str, Any], models: Models, max_rows: int) -> dict[str, Any]:
    """Adds /predict and /v2 to Litestar's document."""
    result = deepcopy(document)
    model = models.main.current
    types = [PredictRequest, PredictResponse, BatchResponse, Problem, *V2_STRUCTS]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REFERENCE + "{name}")
    _refine(schemas["PredictRequest"], model, max_rows)
    refine_v2(schemas, [versions.current for versions in models if versions.current])
    result.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
    result["paths"][PATH] = {"post": _operation(model)}
    result["paths"].update(v2_paths(models.names, model))
    return result


def _refine(request: dict[str, Any], model: LoadedModel | None, max_rows: int) -> None:
    """Says what a struct cannot: one of two fields, and rows of the model's shape."""
    request["oneOf"] = [{"required": ["features"]}, {"required": ["instances"]}]
    properties = request["properties"]
    row = _row(model) if model else properties["features"]
    properties["features"] = row | {"description": "One row, in the order of the model's columns"}
    properties["instances"] = {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}


def _row(model: LoadedModel) -> dict[str, Any]:
    columns = model.spec.columns
    items = [_value(column) for column in columns]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def _value(column: Column) -> dict[str, Any]:
    if column.kind == "boolean":
        return {"type": "boolean", "title": column.name}
    return {"type": column.kind, "title": column.name, "minimum": column.low, "maximum": column.high}


def _operation(model: LoadedModel | None) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": {"$ref": _REFERENCE + "PredictRequest"}}
    if model:
        body["example"] = {"features": list(model.example), "model_version": "latest"}
    answers = {"anyOf": [{"$ref": _REFERENCE + "PredictResponse"}, {"$ref": _REFERENCE + "BatchResponse"}]}
    problem = {"application/problem+json": {"schema": {"$ref": _REFERENCE + "Problem"}}}
    return {
        "tags": ["predict"],
        "operationId": "Predict",
        "summary": "Predict one row or many",
        "description": "`features` is answered by one prediction, `instances` by a list in the same order. "
        "The columns shown are those of the version that `latest` means.",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {
                "description": "The prediction or predictions",
                "content": {"application/json": {"schema": answers}},
            },
            **{str(status): {"description": why, "content": problem} for status, why in _ERRORS.items()},
        },
    }
