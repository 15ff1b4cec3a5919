"""Validate Argo CD's objects against its CustomResourceDefinitions, which refuse unknown fields here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema

from tests.gitops import installation
from tests.support.manifests import Manifest, name_of


def problems(manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each part of an object that Argo CD's definition of its kind does not allow."""
    for error in _validator(manifest["kind"], manifest["apiVersion"].rpartition("/")[2]).iter_errors(manifest):
        path = ".".join(str(part) for part in error.absolute_path)
        yield f"{name_of(manifest)}: {path}: {error.message}"


@cache
def _validator(kind: str, version: str) -> jsonschema.protocols.Validator:
    definition = installation.definitions()[kind]
    schemas = {entry["name"]: entry["schema"]["openAPIV3Schema"] for entry in definition["spec"]["versions"]}
    schema = _closed(schemas[version])
    schema["properties"]["metadata"] = {"type": "object", "required": ["name", "namespace"]}
    return jsonschema.Draft202012Validator(schema)


def _closed(schema: Any) -> Any:
    """Turn a structural schema, where the API server drops unknown fields, into one that refuses them."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        closed["type"] = ["integer", "string"]
    is_object = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed
