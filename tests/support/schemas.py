"""Kubernetes' own schemas, strict and offline, for the oldest version that the charts support and the newest one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from kubernetes_validate.utils import latest_version, schema_contents
from referencing import Registry, Resource

from tests.support.manifests import Manifest, job_of, name_of

OLDEST = "1.32"
VERSIONS = (OLDEST, ".".join(latest_version().split(".")[:2]))

# Custom kinds: the part of their definition that the charts use.
_LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
_SECRET_KEY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "key"],
    "properties": {"name": {"type": "string"}, "key": {"type": "string"}},
}
_ENDPOINT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["port"],
    "properties": {
        "port": {"type": "string"},
        "path": {"type": "string", "pattern": "^/"},
        "interval": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"},
        "scrapeTimeout": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"},
        "scheme": {"enum": ["http", "https"]},
        "params": {"type": "object"},
        "basicAuth": {"type": "object", "properties": {"username": _SECRET_KEY, "password": _SECRET_KEY}},
        "relabelings": {"type": "array"},
        "metricRelabelings": {"type": "array"},
    },
}
_MONITOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["selector"],
    "properties": {
        "selector": {"type": "object", "properties": {"matchLabels": _LABELS, "matchExpressions": {"type": "array"}}},
        "namespaceSelector": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"any": {"type": "boolean"}, "matchNames": {"type": "array", "items": {"type": "string"}}},
        },
        "jobLabel": {"type": "string"},
        "podTargetLabels": {"type": "array", "items": {"type": "string"}},
        "endpoints": {"type": "array", "minItems": 1, "items": _ENDPOINT},
        "podMetricsEndpoints": {"type": "array", "minItems": 1, "items": _ENDPOINT},
    },
}
_RULE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["expr"],
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
    "properties": {
        "alert": {"type": "string"},
        "record": {"type": "string"},
        "expr": {"type": ["string", "integer"]},
        "for": {"type": "string"},
        "keep_firing_for": {"type": "string"},
        "labels": _LABELS,
        "annotations": _LABELS,
    },
}
_RULES = {
    "type": "object",
    "additionalProperties": False,
    "required": ["groups"],
    "properties": {
        "groups": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "rules"],
                "properties": {
                    "name": {"type": "string"},
                    "interval": {"type": "string"},
                    "rules": {"type": "array", "minItems": 1, "items": _RULE},
                },
            },
        }
    },
}
_ROUTE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["parentRefs", "rules"],
    "properties": {
        "parentRefs": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["name"]}},
        "hostnames": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "rules": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["backendRefs"]}},
    },
}
# Traefik's kinds: the part of their definition that the charts use.
_TRAEFIK_SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["weighted"],
    "properties": {
        "weighted": {
            "type": "object",
            "additionalProperties": False,
            "required": ["services"],
            "properties": {
                "services": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name", "port"],
                        "properties": {"name": {"type": "string"}, "port": {"type": ["integer", "string"]}},
                    },
                }
            },
        }
    },
}
_INGRESS_ROUTE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["routes"],
    "properties": {
        "routes": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["match", "services"],
                "properties": {
                    "kind": {"const": "Rule"},
                    "match": {"type": "string"},
                    "services": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                },
            },
        },
        "tls": {"type": "object", "additionalProperties": False, "properties": {"secretName": {"type": "string"}}},
    },
}
_ROLLOUTS = json.loads(Path(__file__).with_name("rollouts.json").read_text(encoding="utf-8"))
CUSTOM = {
    ("argoproj.io/v1alpha1", "Rollout"): _ROLLOUTS["Rollout"],
    ("argoproj.io/v1alpha1", "AnalysisTemplate"): _ROLLOUTS["AnalysisTemplate"],
    ("traefik.io/v1alpha1", "TraefikService"): _TRAEFIK_SERVICE,
    ("traefik.io/v1alpha1", "IngressRoute"): _INGRESS_ROUTE,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _MONITOR,
    ("monitoring.coreos.com/v1", "PodMonitor"): _MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): _RULES,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _ROUTE,
}


@cache
def _definitions(version: str) -> Registry[Any]:
    contents = schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


@cache
def _builtin(kind: str, api_version: str, version: str) -> jsonschema.protocols.Validator:
    """Return the validator of a built-in kind. Raise FileNotFoundError if this Kubernetes does not have the kind."""
    group, _, name = api_version.rpartition("/")
    file = "-".join(filter(None, [kind.lower(), group.split(".")[0], name]))
    schema = schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{file}.json", version)
    registry = Resource.from_contents(schema) @ _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def problems(manifest: Manifest, version: str) -> Iterator[str]:
    """Yield a sentence for each part of a manifest that this version of Kubernetes would not accept."""
    key = (manifest["apiVersion"], manifest["kind"])
    if key in CUSTOM:
        custom = {"type": "object", "required": ["spec"], "properties": {"spec": CUSTOM[key]}}
        validator = jsonschema.Draft202012Validator(custom)
    else:
        try:
            validator = _builtin(manifest["kind"], manifest["apiVersion"], version)
        except FileNotFoundError:
            yield f"{name_of(manifest)}: Kubernetes {version} has no {manifest['kind']} in {manifest['apiVersion']}"
            return
    if inner := _inner(manifest):
        yield from problems(inner, version)
    for error in validator.iter_errors(manifest):
        path = ".".join(str(part) for part in error.absolute_path)
        yield f"{name_of(manifest)}: {path}: {error.message} (Kubernetes {version})"


def _inner(manifest: Manifest) -> Manifest | None:
    """Return a Rollout's pods, or an AnalysisTemplate's Job, as an object with a schema of Kubernetes itself."""
    metadata, spec = {"name": manifest["metadata"]["name"]}, manifest.get("spec", {})
    if manifest["kind"] == "Rollout":
        inner = {"selector": spec["selector"], "template": spec["template"]}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": inner}
    if manifest["kind"] == "AnalysisTemplate" and (job := job_of(manifest)):
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job}
    return None
