"""Values for the pods of every chart, from charts/common/pods.yaml."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tools.chart_values.texts import Texts, as_json, replace_block, value

_SOURCE = "charts/common/pods.yaml"
# Helm itself adds these to the values of a chart: those of its subchart, and those of a parent.
_HELM = {
    "common": {"type": "object", "description": "Values of the library chart; it reads none"},
    "global": {
        "type": "object",
        "description": "Values of a parent chart for all its subcharts; model-serving alone reads any",
    },
    "enabled": {"type": "boolean", "description": "For a parent chart's condition; the chart itself does not read it"},
}


def write(texts: Texts) -> None:
    """Write values.yaml and values.schema.json of all charts that depend on common."""
    shared = yaml.safe_load(texts[texts.charts / "common" / "pods.yaml"])
    for path in sorted(texts.charts.glob("*/values.schema.json")):
        chart = path.parent.name
        schema = json.loads(texts[path])
        schema["properties"] |= _HELM
        if own := shared["charts"].get(chart):
            entries = [_entry(entry, own) for entry in (*shared["chart"], *shared["pods"])]
            values = path.parent / "values.yaml"
            block = "\n".join(value(entry["name"], entry["comment"], entry["default"]) for entry in entries)
            texts[values] = replace_block(texts[values], "pods", _SOURCE, block)
            schema["properties"] |= _properties(entries)
            schema["properties"]["pods"] = _of_one_kind(own["pods"])
            settings = _properties([_entry(entry, own) for entry in shared["pods"]])
            schema["$defs"]["podSettings"] = {"type": "object", "additionalProperties": False, "properties": settings}
        _define(schema, shared["definitions"])
        texts[path] = as_json(schema) + "\n"


def _entry(entry: dict[str, Any], chart: dict[str, Any]) -> dict[str, Any]:
    comment = entry["comment"].replace("{pods}", ", ".join(f"`{pod}`" for pod in chart["pods"]))
    default = entry["default"] if "default" in entry else chart[entry["name"]]
    return {"schema": {}, **entry, "comment": comment, "default": default}


def _properties(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {entry["name"]: {**entry["schema"], "description": entry["comment"]} for entry in entries}


def _of_one_kind(pods: list[str]) -> dict[str, Any]:
    kinds = {pod: {"$ref": "#/$defs/podSettings", "description": f"Those of the component `{pod}`"} for pod in pods}
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "The values of pods for one kind of pod only, instead of the chart's",
        "properties": kinds,
    }


def _define(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Add the shared definitions to which the schema refers, and those to which these refer."""
    schema.setdefault("$defs", {})
    waiting = sorted(set(_references(schema)) & set(definitions))
    while waiting:
        name = waiting.pop()
        schema["$defs"][name] = definitions[name]
        used = set(_references(definitions[name])) & set(definitions)
        waiting += sorted(found for found in used if schema["$defs"].get(found) != definitions[found])
    if not schema["$defs"]:
        del schema["$defs"]


def _references(schema: Any) -> Iterator[str]:
    yield from re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema))
