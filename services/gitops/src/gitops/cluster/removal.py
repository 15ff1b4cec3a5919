"""Remove the objects of a removed service or environment from its cluster.

The change in git comes first. Argo CD then deletes the ApplicationSets, but deliberately keeps what they ran; that is
deleted here. Results of training stay: model versions, runs, and pins in the history.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from gitops.cluster.argocd import ROOT_NAME, namespace_owned
from gitops.cluster.client import Cluster
from gitops.cluster.convergence import REFRESH, left_after
from gitops.cluster.kinds import APPLICATION_SETS, APPLICATIONS, HOOK_FINALIZER, INSTANCE, WORKLOADS
from gitops.cluster.secrets import environment_secrets
from gitops.errors import NotConvergedError
from gitops.platform.model import ARGOCD, Environment
from gitops.platform.targets import Target, listed
from gitops.terminal import Terminal

_PAUSE = 2.0
_JOBS = "jobs.batch"


class Aliases(Protocol):
    """What removal needs of the model registry."""

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version that an alias names, or None."""

    def remove_alias(self, model: str, alias: str) -> None:
        """Remove an alias; it is no error if it does not exist."""


class Item(Struct, frozen=True, kw_only=True):
    """An object to delete: kind, name, namespace, and cluster (empty for Argo CD's cluster)."""

    kind: str
    name: str
    namespace: str = ""
    cluster: str = ""

    def __str__(self) -> str:
        """Return a description for people, such as `deployments.apps ml-pipeline-staging/iris`."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}" + (f" in {self.cluster}" if self.cluster else "")


class Alias(Struct, frozen=True, kw_only=True):
    """An alias of a registered model, and the version that it names."""

    model: str
    alias: str
    version: str

    def __str__(self) -> str:
        """Return a description for people, such as `alias staging of iris-classifier, version 7`."""
        return f"alias {self.alias} of {self.model}, version {self.version}"


class Removal(Struct, frozen=True, kw_only=True):
    """What to delete, in this order; `by_hand` has sentences about what this command cannot reach."""

    waited_for: list[Item] = []
    objects: list[Item] = []
    namespaces: list[Item] = []
    aliases: list[Alias] = []
    by_hand: list[str] = []

    @property
    def lines(self) -> list[str]:
        """Return what will be deleted, a line each, for a dry run."""
        return [str(item) for item in (*self.waited_for, *self.objects, *self.namespaces, *self.aliases)]

    @property
    def empty(self) -> bool:
        """Whether nothing is left to delete."""
        return not self.lines


def plan(
    gone: Sequence[Target],
    clusters: Mapping[str, Cluster],
    *,
    environments: Sequence[Environment] = (),
    registry: Aliases | None = None,
) -> Removal:
    """Find what still exists of removed targets, without changing anything.

    Args:
        gone: The services in environments to remove, from `targets` of the platform before the change.
        clusters: The clusters at hand, by their names in platform.yaml; an empty name means Argo CD's cluster.
        environments: Environments that are removed completely, with their namespaces.
        registry: The model registry; without one, aliases are reported and stay.

    Raises:
        OutageError: A cluster or the registry does not answer.
    """
    removal = Removal(waited_for=[], objects=[], namespaces=[], aliases=[], by_hand=[])
    for target in gone:
        _of_argocd(removal, clusters.get(""), target)
        _of_target(removal, clusters, target, whole=target.environment in environments)
        _of_registry(removal, registry, target)
    for environment in environments:
        _of_environment(removal, clusters, environment)
    return msgspec.structs.replace(removal, by_hand=list(dict.fromkeys(removal.by_hand)))


def carry_out(
    removal: Removal,
    clusters: Mapping[str, Cluster],
    terminal: Terminal,
    *,
    registry: Aliases | None = None,
    seconds: float = 300.0,
) -> None:
    """Delete what a plan lists; safe to run again after an interruption.

    Args:
        removal: The plan.
        clusters: As for `plan`.
        terminal: Where to show the progress.
        registry: As for `plan`.
        seconds: How long Argo CD may take to apply the change in git.

    Raises:
        NotConvergedError: Argo CD still runs it: the change is not on its branch, or Argo CD has not applied it.
        OutageError: A cluster or the registry does not answer.
    """
    if removal.waited_for:
        with terminal.working("Waiting until Argo CD releases the applications"):
            _wait(clusters[""], removal.waited_for, seconds)
        terminal.done("argo cd", f"released {', '.join(item.name for item in removal.waited_for)}")
    with terminal.working("Deleting workloads"):
        for item in removal.objects:
            cluster = clusters[item.cluster]
            if item.kind == _JOBS:
                _drop_hook_finalizer(cluster, item)
            cluster.delete([item.kind], namespace=item.namespace, names=[item.name])
        for item in removal.namespaces:
            clusters[item.cluster].delete([item.kind], names=[item.name])
    terminal.done("workloads", f"{len(removal.objects) + len(removal.namespaces)} objects are removed")
    for alias in removal.aliases:
        if registry is None:
            break
        registry.remove_alias(alias.model, alias.alias)
        terminal.done("registry", f"{alias} is removed; the version stays")


def _of_argocd(removal: Removal, here: Cluster | None, target: Target) -> None:
    if here is None:
        removal.by_hand.append(
            f"Argo CD's cluster cannot be reached: check there that the application {target.application} is removed."
        )
        return
    for kind in (APPLICATION_SETS, APPLICATIONS):
        if here.find(kind, target.application, ARGOCD):
            removal.waited_for.append(Item(kind=kind, name=target.application, namespace=ARGOCD))


def _of_target(removal: Removal, clusters: Mapping[str, Cluster], target: Target, *, whole: bool) -> None:
    name, namespace = target.environment.cluster, target.namespace
    cluster = clusters.get(name)
    if cluster is None:
        selected = f"{','.join(WORKLOADS)} --namespace {namespace} --selector {INSTANCE}={target.release_name}"
        removal.by_hand.append(
            f"In the cluster {name}: kubectl delete {f'namespace {namespace}' if whole else selected}"
        )
        return
    known = cluster.kinds()
    removal.objects.extend(
        Item(kind=kind, name=entry["metadata"]["name"], namespace=namespace, cluster=name)
        for kind in WORKLOADS
        if kind in known
        for entry in cluster.items(kind, namespace, f"{INSTANCE}={target.release_name}")
    )


def _of_registry(removal: Removal, registry: Aliases | None, target: Target) -> None:
    model, alias = target.service.model, target.environment.name
    if registry is None:
        removal.by_hand.append(f"Without MLflow's address the alias {alias} of {model} stays: --mlflow-url removes it.")
    elif version := registry.alias(model, alias):
        removal.aliases.append(Alias(model=model, alias=alias, version=version))


def _of_environment(removal: Removal, clusters: Mapping[str, Cluster], environment: Environment) -> None:
    """Plan the deletion of a namespace with its Secrets; a namespace that bootstrap did not create stays."""
    cluster = clusters.get(environment.cluster)
    if cluster is None:
        return
    namespace = cluster.find("namespaces", environment.where)
    if namespace is None:
        return
    if not namespace_owned(namespace):
        removal.by_hand.append(
            f"The namespace {environment.where} was there before bootstrap, so it stays, with its Secrets "
            f"{listed([spec.name for spec in environment_secrets(environment)])}: delete what you no longer need."
        )
        return
    removal.namespaces.append(Item(kind="namespaces", name=environment.where, cluster=environment.cluster))


def _wait(cluster: Cluster, items: Sequence[Item], seconds: float) -> None:
    if cluster.find(APPLICATIONS, ROOT_NAME, ARGOCD):
        cluster.merge(APPLICATIONS, ROOT_NAME, ARGOCD, {"metadata": {"annotations": {REFRESH: "normal"}}})

    def there() -> list[Item]:
        return [item for item in items if cluster.find(item.kind, item.name, item.namespace)]

    if left := left_after(there, seconds=seconds, pause=_PAUSE):
        raise NotConvergedError(
            f"Argo CD still has {left[0]}: push the change to its branch, check that the application {ROOT_NAME} is "
            "synced, and run the command again. Nothing was removed."
        )


def _drop_hook_finalizer(cluster: Cluster, item: Item) -> None:
    """Remove the finalizer of a hook, because the application that would process it is gone."""
    entry = cluster.find(item.kind, item.name, item.namespace)
    finalizers = ((entry or {}).get("metadata") or {}).get("finalizers") or []
    if HOOK_FINALIZER in finalizers:
        others = [name for name in finalizers if name != HOOK_FINALIZER]
        cluster.merge(item.kind, item.name, item.namespace, {"metadata": {"finalizers": others or None}})
