"""Kubernetes manifests as plain mappings: parse, write and name them."""

from collections.abc import Iterable
from typing import Any

import yaml

from gitops.documents import YAMLError, loaded_all
from gitops.errors import BadInputError

Manifest = dict[str, Any]

_CLUSTER_KINDS = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "Namespace",
        "PersistentVolume",
        "PriorityClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
    }
)


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def parse(text: str) -> list[Manifest]:
    """Return the objects of a YAML stream; empty documents are left out.

    Raises:
        BadInputError: It is not valid YAML.
    """
    try:
        return [document for document in loaded_all(text) if isinstance(document, dict)]
    except YAMLError as error:
        raise BadInputError(f"A rendered manifest is not valid YAML: {error}.") from None


def stream(manifests: Iterable[Manifest]) -> str:
    """Return objects as a YAML stream."""
    return "".join(f"---\n{text(manifest)}" for manifest in manifests)


def text(manifest: Manifest) -> str:
    """Return an object as YAML with sorted keys, so that equal objects have equal texts."""
    return yaml.dump(manifest, Dumper=_Dumper, width=4096)


def placed(manifest: Manifest, namespace: str) -> Manifest:
    """Return the object with the default namespace of Argo CD, if its kind has namespaces and it names none."""
    metadata = manifest.get("metadata") or {}
    if "namespace" in metadata or manifest.get("kind") in _CLUSTER_KINDS:
        return manifest
    return {**manifest, "metadata": {**metadata, "namespace": namespace}}


def name_of(manifest: Manifest) -> str:
    """Return kind and name for people, such as `Deployment ml-pipeline/mlflow`."""
    metadata = manifest.get("metadata") or {}
    namespace = metadata.get("namespace")
    return f"{manifest.get('kind')} {namespace + '/' if namespace else ''}{metadata.get('name')}"
