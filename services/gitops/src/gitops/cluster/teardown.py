"""Remove everything that bootstrap and Argo CD created; by default, the data stays."""

from collections.abc import Sequence
from pathlib import Path

from gitops.cluster.argocd import foreign_namespaces, namespaces, shared_parts
from gitops.cluster.client import Cluster
from gitops.cluster.kinds import ARGOCD_KINDS, HOOK_FINALIZER, INSTANCE, WORKLOADS
from gitops.platform.model import ARGOCD, Platform
from gitops.platform.reader import load_platform
from gitops.platform.targets import targets
from gitops.rendering.applications import MODELS
from gitops.terminal import Terminal

_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
_CLUSTER_WIDE = (
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)
_HOOKS = "jobs.batch"
_CONTROLLERS = "app.kubernetes.io/name in (argocd-application-controller,argocd-applicationset-controller)"
_ARGOCD_LABEL = "app.kubernetes.io/part-of=argocd"


def take_down(tree: Path, cluster: Cluster, terminal: Terminal, *, delete_data: bool) -> None:
    """Remove the platform from a cluster; safe to run again after an interruption.

    Argo CD is removed first, because it would restore what is deleted.

    Args:
        tree: The repository's files, which say what the platform has.
        cluster: The cluster to remove it from.
        terminal: Where to show the progress.
        delete_data: Whether to delete volumes, Secrets and namespaces too.

    Raises:
        BadInputError: platform.yaml or apps/values.yaml cannot be read.
        OutageError: The cluster does not answer.
        ProgramFailedError: Something cannot be deleted.
    """
    platform = load_platform(tree)
    instances = _instances(tree, platform)
    levels, known = namespaces(platform), cluster.kinds()
    with terminal.working("Stopping Argo CD"):
        _delete_argocd(cluster, known)
        _let_go_of_hooks(cluster)
    terminal.done("argo cd", "removed, with its definitions")
    selector = f"{INSTANCE} in ({','.join(instances)})"
    with terminal.working("Deleting workloads"):
        _delete_known(cluster, _CLUSTER_WIDE, known, selector=selector)
        # kube-prometheus-stack creates Services here, to scrape CoreDNS and others.
        cluster.delete(["services"], namespace="kube-system", selector=selector)
        foreign = foreign_namespaces(levels, cluster.items("namespaces"))
        doomed = [name for name in levels if name != ARGOCD and name not in foreign] if delete_data else []
        for namespace in levels:
            if namespace not in (ARGOCD, *doomed):
                _delete_known(cluster, WORKLOADS, known, namespace=namespace, selector=selector)
    for name in dict.fromkeys(entry.cluster for entry in platform.environments if entry.cluster):
        there = ", ".join(namespaces(platform, name))
        terminal.note(
            f"What runs in the cluster {name} keeps running: kubectl delete namespace {there}, with a context of that "
            "cluster."
        )
    if not delete_data:
        terminal.done("workloads", "gone")
        terminal.done("kept", "volumes and Secrets, for the next bootstrap")
        return
    with terminal.working("Deleting namespaces and data"):
        if doomed:
            cluster.delete(["namespaces"], names=doomed)
    terminal.done("data", "gone: " + ", ".join(doomed))
    for name in foreign:
        terminal.note(f"The namespace {name} was there before bootstrap, so it stays, with its volumes and Secrets.")


def _delete_argocd(cluster: Cluster, known: frozenset[str]) -> None:
    # A running controller would create the applications of others again, with their finalizers.
    for kinds in (["statefulsets.apps", "deployments.apps"], ["pods"]):
        cluster.delete(kinds, namespace=ARGOCD, selector=_CONTROLLERS)
    for kind in ARGOCD_KINDS:
        if kind not in known:
            continue
        for entry in cluster.items(kind, ARGOCD):
            # No controller is left to process a finalizer. What it would delete is deleted below.
            if entry["metadata"].get("finalizers"):
                cluster.merge(kind, entry["metadata"]["name"], ARGOCD, {"metadata": {"finalizers": None}})
        if names := [entry["metadata"]["name"] for entry in cluster.items(kind, ARGOCD)]:
            cluster.delete([kind], namespace=ARGOCD, names=names)
    _delete_known(cluster, _CLUSTER_WIDE, known, selector=_ARGOCD_LABEL)
    cluster.delete(["namespaces"], names=[ARGOCD])
    cluster.delete([_DEFINITIONS], selector=_ARGOCD_LABEL)


def _let_go_of_hooks(cluster: Cluster) -> None:
    """Remove the finalizers of hooks that were running, because no controller is left to process them."""
    for entry in cluster.items(_HOOKS):
        metadata = entry["metadata"]
        finalizers = metadata.get("finalizers") or []
        if HOOK_FINALIZER in finalizers:
            others = [name for name in finalizers if name != HOOK_FINALIZER]
            cluster.merge(_HOOKS, metadata["name"], metadata["namespace"], {"metadata": {"finalizers": others or None}})


def _delete_known(
    cluster: Cluster, kinds: Sequence[str], known: frozenset[str], *, selector: str, namespace: str | None = None
) -> None:
    if present := [kind for kind in kinds if kind in known]:
        cluster.delete(present, namespace=namespace, selector=selector)


def _instances(tree: Path, platform: Platform) -> list[str]:
    """Return the names of the Helm releases: of the shared parts and of every target, released or not."""
    training = [f"training-{path.name}" for path in (tree / MODELS).glob("*/")]
    # `training` was the release of the only CronJob, before models had folders.
    return sorted({*shared_parts(tree), "training", *training, *(target.release_name for target in targets(platform))})
