"""Clusters other than Argo CD's: what must exist before an environment can run there."""

from collections.abc import Mapping

from gitops.cluster.argocd import namespaces
from gitops.cluster.client import Cluster
from gitops.cluster.secrets import COPIED, PULL_SECRET, decoded
from gitops.errors import BadInputError
from gitops.platform.model import ARGOCD, Platform
from gitops.platform.targets import listed

_CLUSTER_SECRET = "argocd.argoproj.io/secret-type=cluster"  # noqa: S105  a label


def used(platform: Platform) -> list[str]:
    """Return the names of the other clusters that environments use."""
    return list(dict.fromkeys(entry.cluster for entry in platform.environments if entry.cluster))


def check_contexts(platform: Platform, contexts: Mapping[str, str]) -> None:
    """Refuse a context for a cluster that no environment in platform.yaml uses.

    Raises:
        BadInputError: The cluster does not exist in platform.yaml, or no environment uses it.
    """
    for name in contexts:
        if name not in used(platform):
            there = listed(used(platform))
            raise BadInputError(
                f"--context-of: no environment of platform.yaml is in the cluster {name!r}; it has: {there}."
            )


def left_to_do(platform: Platform, name: str, here: Cluster, *, made: bool) -> list[str]:
    """Return what a person must still do for a cluster, in sentences.

    Args:
        platform: The content of platform.yaml.
        name: The cluster's name in platform.yaml.
        here: Argo CD's cluster.
        made: Whether namespaces and Secrets have just been created there.
    """
    sentences = []
    server = platform.clusters[name].server
    if server not in {decoded(entry).get("server") for entry in here.items("secrets", ARGOCD, _CLUSTER_SECRET)}:
        sentences.append(
            f"Argo CD does not know the cluster {name} yet: run argocd cluster add CONTEXT, so that Argo CD knows it "
            f"as {server}."
        )
    if not made:
        places = listed(list(namespaces(platform, name)))
        needed = listed([*(spec.name for spec in COPIED), PULL_SECRET])
        sentences.append(
            f"The cluster {name} needs the Secrets {needed} in {places}: gitops bootstrap --context-of {name}=CONTEXT "
            "creates them; CONTEXT is one of your kubeconfig."
        )
    return sentences
