"""Serving's settings as values of charts/model-serving.

Serving's `Settings` define name, default, bounds and description of each setting. The chart offers a setting as
`settings.NAME`, unless it sets the variable itself or the setting is a secret. So a new setting needs no change here. A
text that is "separated by commas" is a list in the values.
"""

import json
import re
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import inspect

from serving.settings import Settings
from tools.chart_values.texts import Texts, as_json, replace_block, value

_SOURCE = "services/serving/src/serving/settings.py"
# Settings that the chart sets from other values, or from how it creates its pods.
_CHARTS_OWN = frozenset(
    {
        "MLFLOW_TRACKING_URI",
        "MODEL_NAME",
        "MODEL_STAGE",
        "MODEL_VERSION",
        "MODEL_RELEASE",
        "MODEL_DIGEST",
        "MODEL_URI",
        "EXTRA_MODELS",
        "S3_ENDPOINT_URL",
        "AWS_REGION",
        "HOST",
        "UNIX_SOCKET",
        "PORT",
        "METRICS_PORT",
        "GRPC_PORT",
        "SSL_CERT_FILE",
        "TRACING",
        "MODEL_DIR",
        "API_KEYS_FILE",
        "API_KEY_REQUESTS_PER_SECOND",
        "SHUTDOWN_DRAIN_SECONDS",
        "SHUTDOWN_GRACE_SECONDS",
    }
)
# The shadow's pins and its share of requests are part of the release, not of the settings.
_RELEASES = ("SHADOW_VERSION", "SHADOW_RELEASE", "SHADOW_DIGEST", "SHADOW_URI", "SHADOW_SAMPLE")
# The log has a separate group, because it also needs a store and keys.
_GROUPS = ("PREDICTION_LOG",)
_SECRET = re.compile(r"PASSWORD|USERNAME|SECRET|TOKEN|_KEYS?$|_KEYS?_")
_COMMAS = ", separated by commas"
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "minLength", "maxLength", "enum")


class Setting(msgspec.Struct, frozen=True):
    """A setting in the chart: its variable, name, default, comment and schema."""

    variable: str
    name: str
    default: Any
    comment: str
    schema: dict[str, Any]


def offered(kind: type[msgspec.Struct] = Settings) -> list[Setting]:
    """Return the settings that the chart offers, in the order of `Settings`.

    Raises:
        TypeError: A setting has a type that is not supported here.
    """
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)  # noqa: S101  (narrows the type: `kind` is a Struct)
    _, components = msgspec.json.schema_components([kind], ref_template="{name}")
    schemas = components[kind.__name__]["properties"]
    choices = {name: get_args(get_args(hint)[0]) for name, hint in get_type_hints(kind, include_extras=True).items()}
    return [
        _setting(field, schemas[field.encode_name], choices[field.name])
        for field in info.fields
        if field.encode_name not in {*_CHARTS_OWN, *_RELEASES}
        and not field.encode_name.startswith(_GROUPS)
        and not _SECRET.search(field.encode_name)
    ]


def _setting(field: inspect.Field, schema: dict[str, Any], choices: tuple[str, ...]) -> Setting:
    variable, description = field.encode_name, schema.get("description", "")
    kind = "string" if "enum" in schema else schema.get("type")
    if kind not in {"string", "integer", "number", "boolean"}:
        raise TypeError(f"{variable} is {kind}, which no value of the chart can be: add it to _CHARTS_OWN")
    words = variable.lower().split("_")
    name = words[0] + "".join(word.capitalize() for word in words[1:])
    comment = description[:1].upper() + description[1:].replace(_COMMAS, "")
    if "enum" in schema:
        comment += f": {', '.join(f'`{choice}`' for choice in choices)}"
        schema = {**schema, "enum": list(choices)}
    default: Any = field.default
    if _COMMAS in description:
        items = {"type": "string", "minLength": 1, "pattern": "^[^,]+$"}
        return Setting(variable, name, [part for part in default.split(",") if part], comment,
                       {"type": "array", "items": items, "description": comment})  # fmt: skip
    bounds = {key: schema[key] for key in _BOUNDS if key in schema}
    if kind == "number" and default == int(default):
        default = int(default)
    return Setting(variable, name, default, comment, {"type": kind, **bounds, "description": comment})


def write(texts: Texts) -> None:
    """Write values.yaml, values.schema.json and templates/_settings.tpl of charts/model-serving."""
    chart = texts.charts / "model-serving"
    settings = offered()
    values, schema = chart / "values.yaml", chart / "values.schema.json"
    block = "settings:\n" + "".join(value(found.name, found.comment, found.default, indent=2) for found in settings)
    texts[values] = replace_block(texts[values], "settings", _SOURCE, block)
    loaded = json.loads(texts[schema])
    loaded["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "description": "Settings of the server",
        "properties": {found.name: found.schema for found in settings},
    }
    texts[schema] = as_json(loaded) + "\n"
    lines = "\n".join(_line(found) for found in settings)
    texts[chart / "templates" / "_settings.tpl"] = (
        f"{{{{/* Settings of the server as variables, written by tools/chart_values from {_SOURCE}. */}}}}\n"
        f'{{{{- define "model-serving.settings" -}}}}\n{lines}\n{{{{- end -}}}}\n'
    )


def _line(setting: Setting) -> str:
    path = f".Values.settings.{setting.name}"
    if setting.schema["type"] == "array":
        return f'{{{{- with {path} }}}}\n{setting.variable}: {{{{ join "," . | quote }}}}\n{{{{- end }}}}'
    if setting.default == "" and setting.schema["type"] == "string":
        return f"{{{{- with {path} }}}}\n{setting.variable}: {{{{ . | quote }}}}\n{{{{- end }}}}"
    # Helm reads numbers as floats, and would write large ones as 1e+06.
    whole = "int64 " if setting.schema["type"] == "integer" else ""
    return f"{setting.variable}: {{{{ {whole}{path} | quote }}}}"
