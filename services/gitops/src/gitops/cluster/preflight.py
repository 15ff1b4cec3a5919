"""Checks before anything is changed in a cluster. Each error says what to do."""

import re
from collections.abc import Sequence
from typing import Protocol

from gitops.cluster.quantities import number_of
from gitops.errors import BadInputError
from gitops.rendering.manifests import Manifest

_OLDEST = (1, 32)
# What all pods together may request: half of a small node's four cores, and its 8 GiB minus 1.5 GiB for k3s, the system
# and the page cache. `make test-gitops` holds the charts and envs/ to it.
CORES = 2
MEMORY = 6656 * 2**20
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_METRICS_API = "v1beta1.metrics.k8s.io"


class AskedCluster(Protocol):
    """The requests that the checks make to a cluster."""

    def server_version(self) -> str:
        """Return the version of the API server."""

    def may_do_everything(self) -> bool:
        """Whether the user is an administrator."""

    def items(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Manifest]:
        """Return the objects of a kind."""

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """Return one object, or None."""


def check_cluster(cluster: AskedCluster) -> tuple[str, list[str]]:
    """Check a cluster.

    Returns:
        A short description of the cluster, and possible problems.

    Raises:
        BadInputError: The platform cannot run there.
        OutageError: The cluster does not answer.
    """
    version = cluster.server_version()
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if not match or (int(match[1]), int(match[2])) < _OLDEST:
        raise BadInputError(f"The cluster runs Kubernetes {version}, but 1.32 or newer is needed: upgrade it.")
    if not cluster.may_do_everything():
        raise BadInputError(
            "The user of this kubeconfig is not an administrator of the cluster, and Argo CD's installation needs "
            "one: use an administrator's kubeconfig (on k3s: /etc/rancher/k3s/k3s.yaml)."
        )
    nodes = [node for node in cluster.items("nodes") if _ready(node)]
    if not nodes:
        raise BadInputError("No node of the cluster is ready: `kubectl describe nodes` says why.")
    cores = sum(number_of(node["status"]["allocatable"]["cpu"]) for node in nodes)
    memory = sum(number_of(node["status"]["allocatable"]["memory"]) for node in nodes)
    notes = _notes(cluster, cores, memory)
    return f"Kubernetes {version}, {_count(nodes)}, {cores:g} cores, {memory / 2**30:.1f} GiB available", notes


def _notes(cluster: AskedCluster, cores: float, memory: float) -> list[str]:
    notes = []
    if cores < CORES or memory < MEMORY:
        notes.append(
            f"The whole platform requests up to {CORES} cores and {MEMORY / 2**30:g} GiB; with less, some pods may not "
            "be scheduled."
        )
    classes = cluster.items("storageclasses.storage.k8s.io")
    if not any((entry["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true" for entry in classes):
        notes.append(
            "The cluster has no default storage class: set storage.storageClass in envs/platform, or volumes stay "
            "pending."
        )
    if not cluster.find("apiservices.apiregistration.k8s.io", _METRICS_API):
        notes.append(
            "There is no metrics-server, so the autoscaler has no figures and services stay at their minimum of pods."
        )
    return notes


def check_kinds(cluster: AskedCluster, without: Sequence[str]) -> None:
    """Refuse to leave out the monitoring chart if nothing else provides the kinds that other charts use.

    Raises:
        BadInputError: The cluster does not know ServiceMonitors.
    """
    definition = "servicemonitors.monitoring.coreos.com"
    if "monitoring" in without and not cluster.find("customresourcedefinitions.apiextensions.k8s.io", definition):
        raise BadInputError(
            "Without `monitoring` the cluster does not know the kinds ServiceMonitor and PrometheusRule, which other "
            "applications use: apply the Prometheus operator's definitions first (kubectl apply --server-side "
            "--filename URL of stripped-down-crds.yaml in its release)."
        )


def _ready(node: Manifest) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _count(nodes: Sequence[Manifest]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
