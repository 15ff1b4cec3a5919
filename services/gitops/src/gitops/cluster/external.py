"""The Secrets of bootstrap as ExternalSecrets: the External Secrets operator takes their values from a secret store."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.cluster.secrets import (
    OWNED,
    PULL_SECRET,
    BootstrapSecret,
    Composed,
    Copied,
    Fixed,
    Value,
    bootstrap_secrets,
    decoded,
)
from gitops.errors import BadInputError
from gitops.platform.model import PIPELINE, Platform
from gitops.rendering.manifests import Manifest

API = "external-secrets.io/v1"
KIND = "ExternalSecret"
KINDS = "externalsecrets.external-secrets.io"
_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
_REFRESH = "1h"


class Remote(Struct, frozen=True, order=True):
    """One value in the secret store: the entry, and the property in it."""

    entry: str
    property: str


class _Parts(Struct, frozen=True):
    """How to build a Secret: the values to look up, by key, and templates for the other keys."""

    looked_up: Mapping[str, Remote]
    templates: Mapping[str, str]


def external_secrets(platform: Platform, store: str, cluster: str = "") -> list[Manifest]:
    """Return the ExternalSecrets of a cluster; the registry credentials are options of bootstrap, which writes them.

    Args:
        platform: The content of platform.yaml.
        store: Name of the ClusterSecretStore.
        cluster: A name under `clusters`; empty means Argo CD's cluster.
    """
    known = _originals(platform)
    return [_manifest(spec, store, known) for spec in wanted(platform, cluster)]


def wanted(platform: Platform, cluster: str = "") -> list[BootstrapSecret]:
    """Return the Secrets that the operator creates in a cluster."""
    return [spec for spec in bootstrap_secrets(platform, cluster) if spec.name != PULL_SECRET]


def remotes(platform: Platform) -> dict[str, list[str]]:
    """Return what the secret store must hold: properties by entry."""
    found: dict[str, list[str]] = {}
    known = _originals(platform)
    values = {value for spec in wanted(platform) for value in _parts(spec, known).looked_up.values()}
    for value in sorted(values):
        found.setdefault(value.entry, []).append(value.property)
    return found


def check(cluster: Cluster, specs: Sequence[BootstrapSecret]) -> None:
    """Refuse if the operator is missing, or would overwrite a Secret that bootstrap made.

    Raises:
        BadInputError: The cluster does not know ExternalSecrets, or has a Secret with other values.
    """
    if not cluster.find(_DEFINITIONS, KINDS):
        raise BadInputError(
            f"The cluster does not know {KINDS}: install the External Secrets Operator and a ClusterSecretStore first "
            "(https://external-secrets.io)."
        )
    for spec in specs:
        present = cluster.find("secrets", spec.name, spec.namespace)
        if present is not None and not brought(present):
            raise BadInputError(
                f"The Secret {spec.title} already exists with its own values, which the operator would replace: put "
                f"them into the store as {entry_of(spec.name)}, delete the Secret, and run this again."
            )


def brought(secret: Manifest) -> bool:
    """Whether the operator created a Secret."""
    return any(owner.get("kind") == KIND for owner in secret["metadata"].get("ownerReferences") or [])


def missing(cluster: Cluster, specs: Sequence[BootstrapSecret]) -> list[str]:
    """Return a sentence for each Secret that does not exist yet, with the operator's message if there is one."""
    sentences = []
    for spec in specs:
        present = cluster.find("secrets", spec.name, spec.namespace)
        values = decoded(present) if present else {}
        if any(key not in values for key in spec.keys):
            status = (cluster.find(KINDS, spec.name, spec.namespace) or {}).get("status") or {}
            words = [entry["message"] for entry in status.get("conditions") or [] if entry.get("message")]
            sentences.append(": ".join([spec.title, *words[-1:]]))
    return sentences


def entry_of(secret: str) -> str:
    """Return the store's entry for a Secret. Some stores allow no slashes or dots in names."""
    return f"{PIPELINE}-{secret}"


def _originals(platform: Platform) -> dict[tuple[str, str], Value]:
    return {(spec.name, key): value for spec in bootstrap_secrets(platform) if spec.namespace == PIPELINE
            for key, value in spec.keys.items()}  # fmt: skip


def _manifest(spec: BootstrapSecret, store: str, known: Mapping[tuple[str, str], Value]) -> Manifest:
    parts = _parts(spec, known)
    template: Manifest = {"type": spec.type, "metadata": {"labels": dict(OWNED)}}
    if parts.templates:
        whole = {key: _field(key) for key in spec.keys if key in parts.looked_up}
        template |= {"engineVersion": "v2", "data": {**whole, **parts.templates}}
    return {
        "apiVersion": API,
        "kind": KIND,
        "metadata": {"name": spec.name, "namespace": spec.namespace, "labels": dict(OWNED)},
        "spec": {
            "refreshInterval": _REFRESH,
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
            "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain", "template": template},
            "data": [
                {"secretKey": name, "remoteRef": {"key": remote.entry, "property": remote.property}}
                for name, remote in parts.looked_up.items()
            ],
        },
    }


def _parts(spec: BootstrapSecret, known: Mapping[tuple[str, str], Value]) -> _Parts:
    looked_up: dict[str, Remote] = {}
    templates: dict[str, str] = {}
    for key, value in spec.keys.items():
        match value:
            case Composed(form, copies):
                templates[key] = form.format(*(_escaped(part, known, looked_up) for part in copies))
            case Copied():
                _resolve(key, value, known, looked_up, templates)
            case Fixed(text):
                templates[key] = text
            case _:
                looked_up[key] = Remote(entry_of(spec.name), key)
    return _Parts(looked_up, templates)


def _resolve(
    key: str,
    copied: Copied,
    known: Mapping[tuple[str, str], Value],
    looked_up: dict[str, Remote],
    templates: dict[str, str],
) -> None:
    original = known[copied.secret, copied.key]
    if isinstance(original, Fixed):
        templates[key] = original.text
    else:
        looked_up[key] = Remote(entry_of(copied.secret), copied.key)


def _escaped(part: Copied, known: Mapping[tuple[str, str], Value], looked_up: dict[str, Remote]) -> str:
    """Return a template for a percent-encoded part of an address."""
    original = known[part.secret, part.key]
    if isinstance(original, Fixed):
        return original.text
    looked_up[part.key] = Remote(entry_of(part.secret), part.key)
    return f'{{{{ index . "{part.key}" | urlquery | replace "+" "%20" }}}}'


def _field(key: str) -> str:
    return f'{{{{ index . "{key}" }}}}'
