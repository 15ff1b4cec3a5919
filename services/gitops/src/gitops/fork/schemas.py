"""Find keys of values that a chart's JSON schema does not have. `gitops render` checks everything else, with Helm."""

from collections.abc import Iterator, Mapping
from typing import Any


def refused_keys(values: object, schema: Mapping[str, Any]) -> list[str]:
    """Return the keys that a closed schema does not have, as paths such as `ingress.host`."""
    return list(_refused(values, schema, schema, ""))


def _refused(values: object, schema: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Iterator[str]:
    schema = _resolved(schema, whole)
    if isinstance(values, list):
        for number, entry in enumerate(values):
            if isinstance(schema.get("items"), dict):
                yield from _refused(entry, schema["items"], whole, f"{path}[{number}]")
        return
    # Alternatives need a check of the values too, which Helm does.
    if not isinstance(values, dict) or any(word in schema for word in ("anyOf", "oneOf", "allOf", "patternProperties")):
        return
    known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, value in values.items():
        where = f"{path}.{name}" if path else str(name)
        if name in known:
            yield from _refused(value, known[name], whole, where)
        elif rest is False:
            yield where
        elif isinstance(rest, dict):
            yield from _refused(value, rest, whole, where)


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    while isinstance(reference := schema.get("$ref"), str) and reference.startswith("#/"):
        found: Any = whole
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        schema = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema
