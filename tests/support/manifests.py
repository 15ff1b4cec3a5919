"""Kubernetes manifests as plain dictionaries: parse and name them, and find their pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

Manifest = dict[str, Any]

# The same as SafeLoader, but ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LONG_RUNNING = frozenset({"DaemonSet", "Deployment", "Rollout", "StatefulSet"})


class PodTemplate(NamedTuple):
    """The pods that a manifest makes. `owner` is Kind/name; `long_running` is true if they keep running."""

    owner: str
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]
    long_running: bool


def parse(text: str) -> list[Manifest]:
    """Return every non-empty document of a YAML stream. Raise TypeError if one is not a mapping."""
    documents = [document for document in yaml.load_all(text, _Loader) if document]
    for document in documents:
        if not isinstance(document, dict):
            raise TypeError(f"a manifest must be a mapping, and this is {type(document).__name__}: {document!r:.60}")
    return documents


def name_of(manifest: Manifest) -> str:
    """Return Kind/name."""
    return f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"


def metadata(manifest: Manifest, key: str) -> dict[str, str]:
    """Return the labels or annotations, or an empty dictionary."""
    return manifest.get("metadata", {}).get(key) or {}


def pod_template(manifest: Manifest) -> PodTemplate | None:
    """Return the pods of a workload, or None for any other kind."""
    kind, spec = manifest.get("kind"), manifest.get("spec", {})
    if kind == "Pod":
        template = manifest
    elif kind == "CronJob":
        template = spec["jobTemplate"]["spec"]["template"]
    elif kind in LONG_RUNNING | {"Job", "ReplicaSet"}:
        template = spec["template"]
    elif kind == "AnalysisTemplate" and (job := job_of(manifest)):
        template = job["template"]
    else:
        return None
    return PodTemplate(
        owner=name_of(manifest),
        labels=metadata(template, "labels"),
        annotations=metadata(template, "annotations"),
        spec=template["spec"],
        long_running=kind in LONG_RUNNING,
    )


def job_of(manifest: Manifest) -> dict[str, Any] | None:
    """Return the spec of the Job that an AnalysisTemplate of Argo Rollouts runs, or None."""
    providers = [metric["provider"] for metric in manifest["spec"]["metrics"]]
    return next((provider["job"]["spec"] for provider in providers if "job" in provider), None)


def containers(pod: PodTemplate) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every container, including init containers, with its name for messages."""
    for key in ("initContainers", "containers"):
        for container in pod.spec.get(key) or []:
            yield f"{pod.owner}: container {container['name']}", container


def volumes(manifest: Manifest, pod: PodTemplate) -> set[str]:
    """Return the names of the volumes that the pod's containers may mount, including claims of a StatefulSet."""
    claims = manifest.get("spec", {}).get("volumeClaimTemplates") or []
    return {v["name"] for v in pod.spec.get("volumes") or []} | {claim["metadata"]["name"] for claim in claims}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a LabelSelector matches labels. An empty selector matches everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_matches(expression, labels) for expression in selector.get("matchExpressions") or [])


def _matches(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    value, wanted = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in wanted
        case "NotIn":
            return value not in wanted
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case operator:
            raise ValueError(f"a label selector has no operator {operator}")


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a manifest or a part of one, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
