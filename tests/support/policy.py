"""All rules, applied to the manifests of a release."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support import pod_rules, set_rules
from tests.support.manifests import Manifest, selects

# The label that every namespace has.
NAMESPACE = "kubernetes.io/metadata.name"


def violations(manifests: Sequence[Manifest]) -> list[str]:
    """Return a sentence for each violation of a rule by one manifest or by all of them together."""
    alone = [found for manifest in manifests for rule in pod_rules.RULES for found in rule(manifest)]
    return alone + [found for rule in set_rules.RULES for found in rule(manifests)]


def lets_in(guard: Manifest, namespace: str, from_namespace: str, labels: dict[str, str], port: int) -> bool:
    """Return whether a NetworkPolicy in `namespace` lets in a pod of `from_namespace` at a port.

    Namespaces have only the label that Kubernetes itself sets, their name.
    """
    for rule in guard["spec"].get("ingress") or []:
        ports = {entry.get("port") for entry in rule.get("ports") or []}
        if ports and port not in ports:
            continue
        peers = rule.get("from")
        if not peers or any(_is_peer(peer, namespace, from_namespace, labels) for peer in peers):
            return True
    return False


def _is_peer(peer: Manifest, namespace: str, from_namespace: str, labels: dict[str, str]) -> bool:
    if "ipBlock" in peer:
        return False
    spaces = peer.get("namespaceSelector")
    near = namespace == from_namespace if spaces is None else selects(spaces, {NAMESPACE: from_namespace})
    return near and selects(peer.get("podSelector") or {}, labels)
