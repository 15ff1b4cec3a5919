"""Removal from a cluster: first a list, deletion only after Argo CD has let go, and data of others stays."""

import re

import pytest

from gitops.cluster import removal
from gitops.cluster.client import Cluster
from gitops.cluster.kinds import WORKLOADS
from gitops.errors import NotConvergedError
from gitops.platform.model import Cluster as Place
from gitops.platform.model import Environment, Platform, Registry, Service
from gitops.platform.targets import targets
from gitops.terminal import Terminal
from services.gitops.tests.conftest import ROOT
from services.gitops.tests.memory_cluster import MemoryCluster

PLATFORM = Platform(
    repository="https://git.example.com/flora/petals.git",
    registry=Registry(prefix="registry.example.com/flora/petals"),
    environments=[Environment(name="staging"), Environment(name="eu", source="staging", cluster="west")],
    services=[Service(name="iris", model="iris-classifier"), Service(name="wine", model="wine-classifier")],
    clusters={"west": Place(server="https://10.0.0.5:6443", s3="https://s3.example.com")},
)
IRIS = [target for target in targets(PLATFORM) if target.service.name == "iris"]
STAGING = [target for target in targets(PLATFORM) if target.environment.name == "staging"]
HOOK = "argocd.argoproj.io/hook-finalizer"


class Registered:
    """Aliases in memory, by model and alias."""

    def __init__(self) -> None:
        self.aliases = {("iris-classifier", "staging"): "7", ("iris-classifier", "champion"): "7"}

    def alias(self, model: str, alias: str) -> str | None:
        return self.aliases.get((model, alias))

    def remove_alias(self, model: str, alias: str) -> None:
        self.aliases.pop((model, alias), None)


@pytest.fixture
def here() -> MemoryCluster:
    cluster = MemoryCluster()
    for service in ("iris", "wine"):
        cluster.put("applicationsets", {"metadata": {"name": f"{service}-staging", "namespace": "argocd"}})
        labels = {"app.kubernetes.io/instance": service}
        for kind in ("deployments", "services"):
            cluster.put(kind, {"metadata": {"name": service, "namespace": "ml-pipeline-staging", "labels": labels}})
        smoke = {"name": f"{service}-smoke", "namespace": "ml-pipeline-staging", "labels": labels, "finalizers": [HOOK]}
        cluster.put("jobs", {"metadata": smoke})
    cluster.put("secrets", {"metadata": {"name": "s3-serving", "namespace": "ml-pipeline-staging"}})
    owned = {"app.kubernetes.io/managed-by": "gitops"}
    cluster.put("namespaces", {"metadata": {"name": "ml-pipeline-staging", "labels": owned}})
    return cluster


def let_go(cluster: MemoryCluster, *names: str) -> None:
    for name in names:
        del cluster.objects["applicationsets", "argocd", name]


def test_a_plan_lists_objects_and_changes_nothing(here: MemoryCluster) -> None:
    clusters: dict[str, Cluster] = {"": here}
    plan = removal.plan(IRIS, clusters, registry=Registered())
    assert plan.lines == [
        "applicationsets.argoproj.io argocd/iris-staging",
        "jobs.batch ml-pipeline-staging/iris-smoke",
        "deployments.apps ml-pipeline-staging/iris",
        "services ml-pipeline-staging/iris",
        "alias staging of iris-classifier, version 7",
    ]
    (sentence,) = plan.by_hand
    assert sentence.startswith("In the cluster west: kubectl delete cronjobs.batch,")
    assert sentence.endswith("--namespace ml-pipeline-eu --selector app.kubernetes.io/instance=iris")
    assert here.order == []


def test_a_service_is_deleted_and_other_services_stay(here: MemoryCluster) -> None:
    registry, clusters = Registered(), {"": here}
    plan = removal.plan(IRIS, clusters, registry=registry)
    let_go(here, "iris-staging")
    removal.carry_out(plan, clusters, Terminal(), registry=registry)
    left = {(kind, name) for (kind, where, name) in here.objects if where == "ml-pipeline-staging"}
    assert left == {("deployments", "wine"), ("services", "wine"), ("jobs", "wine-smoke"), ("secrets", "s3-serving")}
    assert registry.aliases == {("iris-classifier", "champion"): "7"}
    assert removal.plan(IRIS, clusters, registry=registry).empty
    removal.carry_out(plan, clusters, Terminal(), registry=registry)


def test_nothing_is_deleted_while_argo_cd_still_runs_it(here: MemoryCluster) -> None:
    clusters = {"": here}
    plan = removal.plan(IRIS, clusters)
    with pytest.raises(NotConvergedError, match=r"still has applicationsets\.argoproj\.io argocd/iris-staging: push"):
        removal.carry_out(plan, clusters, Terminal(), seconds=0)
    assert here.find("deployments", "iris", "ml-pipeline-staging")


def test_an_environment_is_deleted_with_its_namespace(here: MemoryCluster) -> None:
    clusters = {"": here}
    plan = removal.plan(STAGING, clusters, environments=PLATFORM.environments[:1])
    let_go(here, "iris-staging", "wine-staging")
    removal.carry_out(plan, clusters, Terminal())
    assert not here.find("namespaces", "ml-pipeline-staging")
    assert "--mlflow-url removes it" in plan.by_hand[0]


def test_a_namespace_from_before_bootstrap_stays(here: MemoryCluster) -> None:
    here.put("namespaces", {"metadata": {"name": "ml-pipeline-staging"}})
    plan = removal.plan(STAGING, {"": here}, environments=PLATFORM.environments[:1], registry=Registered())
    assert plan.namespaces == []
    assert "was there before bootstrap, so it stays" in plan.by_hand[0]


def test_an_environment_is_deleted_in_its_own_cluster(here: MemoryCluster) -> None:
    there = MemoryCluster()
    owned = {"app.kubernetes.io/managed-by": "gitops"}
    there.put("namespaces", {"metadata": {"name": "ml-pipeline-eu", "labels": owned}})
    gone = [target for target in targets(PLATFORM) if target.environment.name == "eu"]
    clusters = {"": here, "west": there}
    plan = removal.plan(gone, clusters, environments=PLATFORM.environments[1:], registry=Registered())
    assert plan.lines == ["namespaces ml-pipeline-eu in west"]
    removal.carry_out(plan, clusters, Terminal())
    assert not there.find("namespaces", "ml-pipeline-eu")


def test_every_kind_of_the_charts_is_deleted() -> None:
    """An object of a missing kind would survive its service: a Rollout with all its pods, for example."""
    made = set()
    for file in (ROOT / "charts").glob("*/templates/**/*.yaml"):
        made |= set(re.findall(r"^apiVersion: (\S+)\nkind: (\S+)$", file.read_text(), re.MULTILINE))
    assert ("argoproj.io/v1alpha1", "Rollout") in made
    # `helm test` deletes its pods itself.
    assert {plural(version, kind) for version, kind in made} - {"pods"} <= set(WORKLOADS)


def plural(version: str, kind: str) -> str:
    """Return a kind in kubectl's notation."""
    name, group = kind.lower(), version.rpartition("/")[0]
    ending = "ies" if name.endswith("y") else "es" if name.endswith("s") else "s"
    return f"{name.removesuffix('y')}{ending}" + (f".{group}" if group else "")


def test_a_service_with_canaries_is_deleted(here: MemoryCluster) -> None:
    labels = {"app.kubernetes.io/instance": "iris"}
    here.put("rollouts", {"metadata": {"name": "iris", "namespace": "ml-pipeline-staging", "labels": labels}})
    clusters: dict[str, Cluster] = {"": here}
    plan = removal.plan(IRIS, clusters)
    let_go(here, "iris-staging")
    removal.carry_out(plan, clusters, Terminal())
    assert here.find("rollouts.argoproj.io", "iris", "ml-pipeline-staging") is None
