"""The OpenAPI document, made from the table of routes, the structs of the bodies, and the served models.

So it gives the length of a row and the names of the models' inputs.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from serving.api.problems import MEDIA_TYPE, as_inference_error, as_mlflow_error, as_problem
from serving.api.routes import ErrorStyle, Operation, Route
from serving.api.schema import example_row, rows
from serving.loader import LoadedModel
from serving.models import Models
from serving.openinference.mapping import example
from serving.openinference.messages import InferRequest
from serving.openinference.rows import FEATURES
from serving.openinference.tensors import DATATYPES
from serving.schemas import FeedbackRequest, InferenceError, InvocationError, Problem
from serving.scoring import InvocationRequest

_REFERENCE = "#/components/schemas/"
_ERRORS = {
    400: "The body is not valid JSON, or does not follow the protocol",
    404: "This deployment has no such model or version",
    408: "The body arrived too slowly",
    413: "The body is too long, or has too many rows",
    415: "The media type of the body is not supported, or it is compressed with something other than gzip",
    422: "The body does not fit the model; `errors` names each field",
    500: "An unexpected error",
    503: "The model is not loaded yet, the named version is not available now, or the process is stopping",
}
# The struct and the media type of each form of errors.
_ERROR_FORMS: dict[ErrorStyle, tuple[type[msgspec.Struct], str]] = {
    as_problem: (Problem, MEDIA_TYPE.decode()),
    as_inference_error: (InferenceError, "application/json"),
    as_mlflow_error: (InvocationError, "application/json"),
}
_VERSION_NAME = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}


def document(routes: Iterable[Route], models: Models, max_rows: int, explain_rows: int, version: str) -> dict[str, Any]:
    """Describe the routes that have an `operation`, for the models that are served now."""
    main = models.main.current
    described = [(route, route.operation) for route in routes if route.operation]
    structs = {struct for struct, _ in _ERROR_FORMS.values()}
    for _, operation in described:
        structs.update(_answers(operation), filter(None, [operation.body]))
    ordered = sorted(structs, key=lambda struct: struct.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REFERENCE + "{name}")
    for name, most in (("PredictRequest", max_rows), ("ExplainRequest", explain_rows)):
        if name in schemas:
            _refine_rows(schemas[name], main, most)
    _refine_invocations(schemas, main)
    _refine_tensors(schemas, [versions.current for versions in models if versions.current])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Prediction API",
            "version": version,
            "description": "Predictions of scikit-learn models, with the version that made them. /predict and "
            f"/model/info use {models.main.name}; /v2 serves each of {', '.join(models.names)}.",
        },
        "paths": {
            route.path: {route.method.lower(): _operation(route, operation, models.names, main)}
            for route, operation in described
        },
        "components": {"schemas": schemas},
    }


def _answers(operation: Operation) -> tuple[type[msgspec.Struct], ...]:
    if isinstance(operation.answer, str):
        return ()
    return operation.answer if isinstance(operation.answer, tuple) else (operation.answer,)


def _operation(route: Route, it: Operation, names: Sequence[str], main: LoadedModel | None) -> dict[str, Any]:
    error, error_type = _ERROR_FORMS[route.error]
    error_schema = {"schema": _schema(error.__name__)}
    answers = [_schema(struct.__name__) for struct in _answers(it)]
    answer = {"anyOf": answers} if len(answers) > 1 else answers[0] if answers else {"type": "string"}
    media_type = it.answer if isinstance(it.answer, str) else "application/json"
    described: dict[str, Any] = {
        "tags": [it.tag],
        "summary": it.summary,
        "description": inspect.getdoc(route.handler) or "",
        "responses": {
            "200": {"description": it.summary, "content": {media_type: {"schema": answer}}},
            **{
                str(status): {"description": _ERRORS[status], "content": {error_type: error_schema}}
                for status in it.errors
            },
        },
    }
    if route.path == "/health":
        described["responses"]["503"] = {**described["responses"]["200"], "description": "The same, while not ready"}
    if parameters := _parameters(route.path, names):
        described["parameters"] = parameters
    if it.body:
        body: dict[str, Any] = {"schema": _schema(it.body.__name__)}
        if main:
            body["example"] = _example(it.body, main)
        described["requestBody"] = {"required": True, "content": {"application/json": body}}
    return described


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE + name}


def _parameters(path: str, names: Sequence[str]) -> list[dict[str, Any]]:
    known = {
        "model_name": ({"enum": list(names)}, "The registered model"),
        "model_version": (_VERSION_NAME, "A registry number, an alias, a release tag, or `latest`"),
    }
    return [
        {"name": name, "in": "path", "required": True, "schema": known[name][0], "description": known[name][1]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _example(body: type[msgspec.Struct], main: LoadedModel) -> dict[str, Any]:
    if body is InferRequest:
        return example(main)
    if body is FeedbackRequest:
        return {
            "feedback": [
                {"request_id": "order-4711", "row": 0, "truth": main.spec.classes[0] if main.spec.classes else 1.5}
            ]
        }
    if body is InvocationRequest:
        names = [column.name for column in main.spec.columns]
        return {"dataframe_split": {"columns": names, "data": [list(main.example)]}}
    return {"features": example_row(main), "model_version": "latest"}


def _refine_rows(request: dict[str, Any], model: LoadedModel | None, max_rows: int) -> None:
    """Add what a struct cannot express: exactly one of two fields, and rows of the model's shape."""
    request["oneOf"] = [{"required": ["features"]}, {"required": ["instances"]}]
    properties = request["properties"]
    row = {"anyOf": rows(model.reader)} if model else properties["features"]
    about = "One row: an array in the order of the model's columns, or an object by their names"
    properties["features"] = row | {"description": about}
    properties["instances"] = {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}


def _refine_invocations(schemas: dict[str, Any], model: LoadedModel | None) -> None:
    """Add what a struct cannot express: exactly one of four fields, and rows of the model's shape."""
    request = schemas["InvocationRequest"]
    request["oneOf"] = [{"required": [field]} for field in InvocationRequest.__struct_fields__]
    if model:
        *_, row = rows(model.reader)
        # Here the API ignores names that the model does not know.
        row.pop("additionalProperties", None)
        request["properties"]["dataframe_records"] = {"type": "array", "items": row, "minItems": 1}


def _refine_tensors(schemas: dict[str, Any], models: Sequence[LoadedModel]) -> None:
    """Add what the structs cannot express: the type of a tensor's data, and the names of the models' inputs."""
    tensor = schemas["InputTensor"]["properties"]
    value = {"type": ["number", "boolean", "string", "null"]}
    tensor["data"] = {"type": "array", "items": {"anyOf": [value, {"type": "array", "items": value}]}}
    tensor["datatype"] = {"enum": list(DATATYPES)}
    schemas["OutputTensor"]["properties"]["datatype"] = {"enum": list(DATATYPES)}
    if models:
        columns = dict.fromkeys(column.name for model in models for column in model.spec.columns)
        tensor["name"] = {"enum": list(dict.fromkeys([FEATURES, *columns]))}
