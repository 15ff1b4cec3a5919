"""Transfer objects from the applications of the old layout to those of the new one, without touching a pod.

In the old layout, services had no names: one ApplicationSet made an application LEGACY-ENV in each environment, and the
application `argocd` owned the projects. Argo CD notes the owner of an object in an annotation, and with
FailOnSharedResource it does not sync an object of another application. So this code changes the annotation. The pod
management policy of a StatefulSet cannot be changed: the StatefulSet is deleted without its pods and claims, and Argo
CD creates it again around them. Argo CD's controllers are stopped meanwhile, so that nothing is reverted or half
synced. Each step checks the state first, so a second run completes an interrupted one.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from gitops.cluster.argocd import ROOT_NAME
from gitops.cluster.client import Cluster
from gitops.cluster.convergence import left_after
from gitops.cluster.kinds import APPLICATION_SETS, APPLICATIONS, PROJECTS, TRACKING, WORKLOADS
from gitops.errors import NotConvergedError
from gitops.platform.model import ARGOCD, Platform
from gitops.platform.targets import targets
from gitops.rendering.manifests import Manifest

_STATEFUL_SETS = "statefulsets.apps"
# The default of Kubernetes.
_USUAL_POLICY = "OrderedReady"
# The controllers that act on Applications: kind and name, which is also a label of their pods.
_CONTROLLERS = (
    ("deployments.apps", "argocd-applicationset-controller"),
    (_STATEFUL_SETS, "argocd-application-controller"),
)
_PROJECTS_BEFORE = "argocd"
_STOP_SECONDS = 120.0
_PAUSE = 1.0


class Moved(Struct, frozen=True, kw_only=True):
    """How many objects of a namespace were transferred from one application to another."""

    namespace: str
    before: str
    after: str
    count: int

    def __str__(self) -> str:
        """Return a description for people."""
        return f"{self.count} objects in {self.namespace}: {self.before} -> {self.after}"


class Released(Struct, frozen=True, kw_only=True):
    """A StatefulSet deleted without its pods and claims, because its pod management policy cannot be changed."""

    namespace: str
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        """Return a description for people."""
        return (
            f"StatefulSet {self.namespace}/{self.name}: deleted without its pods and data, since podManagementPolicy "
            f"{self.before} cannot be changed to {self.after}; Argo CD creates it again"
        )


def needed(cluster: Cluster) -> bool:
    """Whether a cluster runs the old layout, or its hand-over was interrupted."""
    root = cluster.find(APPLICATIONS, ROOT_NAME, ARGOCD)
    if root is None:
        return False
    source = (root.get("spec") or {}).get("source") or {}
    return not source.get("helm") or any(_stopped(cluster, kind, name) for kind, name in _CONTROLLERS)


def hand_over(
    cluster: Cluster, platform: Platform, fresh: Sequence[Manifest], wanted: Sequence[Manifest] = ()
) -> list[Moved | Released]:
    """Transfer all objects, apply the new projects and root, and start Argo CD again.

    Args:
        cluster: Argo CD's cluster.
        platform: The content of platform.yaml; `legacyName` is the former name of a service.
        fresh: The projects and the root application of the new layout.
        wanted: The objects of the platform's own applications in the new layout; only the StatefulSets are used.

    Returns:
        What was transferred, and which StatefulSets Argo CD creates again.

    Raises:
        NotConvergedError: A controller does not stop.
        OutageError: The cluster does not answer.
    """
    for kind, name in _CONTROLLERS:
        _scale(cluster, kind, name, 0)
    _await_stopped(cluster)
    moved: list[Moved | Released] = [*_objects(cluster, _renamed(platform))]
    moved += _retracked(cluster, [PROJECTS], ARGOCD, {_PROJECTS_BEFORE: ROOT_NAME})
    moved += _released(cluster, wanted)
    _forget(cluster, platform)
    cluster.apply(fresh)
    for kind, name in reversed(_CONTROLLERS):
        _scale(cluster, kind, name, 1)
    return moved


def _renamed(platform: Platform) -> dict[str, dict[str, str]]:
    """Return by namespace the old name of each application and its new name."""
    names: dict[str, dict[str, str]] = {}
    for target in targets(platform):
        if target.service.legacy_name and not target.environment.cluster:
            names.setdefault(target.namespace, {})[target.release_name] = target.application
    return names


def _objects(cluster: Cluster, names: Mapping[str, Mapping[str, str]]) -> list[Moved]:
    known = cluster.kinds()
    kinds = [kind for kind in WORKLOADS if kind in known]
    return [moved for namespace, renamed in names.items() for moved in _retracked(cluster, kinds, namespace, renamed)]


def _retracked(cluster: Cluster, kinds: Sequence[str], namespace: str, renamed: Mapping[str, str]) -> list[Moved]:
    counts: dict[tuple[str, str], int] = {}
    for kind in kinds:
        for entry in cluster.items(kind, namespace):
            metadata = entry["metadata"]
            before, colon, rest = ((metadata.get("annotations") or {}).get(TRACKING) or "").partition(":")
            after = renamed.get(before, before)
            if not colon or after == before:
                continue
            annotations = {TRACKING: f"{after}:{rest}"}
            cluster.merge(kind, metadata["name"], namespace, {"metadata": {"annotations": annotations}})
            counts[before, after] = counts.get((before, after), 0) + 1
    return [
        Moved(namespace=namespace, before=before, after=after, count=count) for (before, after), count in counts.items()
    ]


def _released(cluster: Cluster, wanted: Sequence[Manifest]) -> Iterator[Released]:
    for manifest in wanted:
        if manifest.get("kind") != "StatefulSet":
            continue
        name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        running = cluster.find(_STATEFUL_SETS, name, namespace)
        if running is None or _policy(running) == _policy(manifest):
            continue
        cluster.delete([_STATEFUL_SETS], namespace=namespace, names=[name], orphan=True)
        yield Released(namespace=namespace, name=name, before=_policy(running), after=_policy(manifest))


def _policy(stateful_set: Manifest) -> str:
    return str((stateful_set.get("spec") or {}).get("podManagementPolicy") or _USUAL_POLICY)


def _forget(cluster: Cluster, platform: Platform) -> None:
    """Delete the old ApplicationSets and Applications. Without finalizers, the objects that they made stay."""
    legacy = {service.legacy_name for service in platform.services if service.legacy_name}
    names = {target.application for target in targets(platform)}
    before = {target.release_name for target in targets(platform) if target.service.legacy_name}
    sets = [name for entry in cluster.items(APPLICATION_SETS, ARGOCD) if (name := entry["metadata"]["name"]) in legacy]
    made = [
        name
        for entry in cluster.items(APPLICATIONS, ARGOCD)
        if (name := entry["metadata"]["name"]) in before - names or legacy & set(_owners(entry))
    ]
    for kind, doomed in ((APPLICATIONS, made), (APPLICATION_SETS, sets)):
        for name in doomed:
            cluster.merge(kind, name, ARGOCD, {"metadata": {"finalizers": None}})
    # Delete the ApplicationSets first: that also deletes their Applications. The rest is deleted by name.
    for kind, doomed in ((APPLICATION_SETS, sets), (APPLICATIONS, made)):
        if doomed:
            cluster.delete([kind], namespace=ARGOCD, names=doomed)


def _owners(entry: Manifest) -> Iterator[str]:
    for owner in entry["metadata"].get("ownerReferences") or []:
        if owner.get("kind") == "ApplicationSet":
            yield owner["name"]


def _stopped(cluster: Cluster, kind: str, name: str) -> bool:
    workload = cluster.find(kind, name, ARGOCD)
    return workload is not None and (workload.get("spec") or {}).get("replicas") == 0


def _scale(cluster: Cluster, kind: str, name: str, replicas: int) -> None:
    if cluster.find(kind, name, ARGOCD):
        cluster.merge(kind, name, ARGOCD, {"spec": {"replicas": replicas}})


def _await_stopped(cluster: Cluster) -> None:
    def running() -> list[str]:
        return [
            pod["metadata"]["name"]
            for _, name in _CONTROLLERS
            for pod in cluster.items("pods", ARGOCD, f"app.kubernetes.io/name={name}")
        ]

    if left := left_after(running, seconds=_STOP_SECONDS, pause=_PAUSE):
        raise NotConvergedError(
            f"The pod {ARGOCD}/{left[0]} does not stop, and the migration cannot continue while it runs: kubectl "
            f"--namespace {ARGOCD} describe pod {left[0]}. Then run bootstrap again."
        )
