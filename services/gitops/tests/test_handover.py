"""Migration of a cluster with the old layout: new applications for all objects, no deletions, safe interruptions."""

from pathlib import Path
from typing import Any

import pytest

from gitops.cluster import handover
from gitops.cluster.bootstrap import Bootstrap, Options
from gitops.cluster.kinds import TRACKING
from gitops.errors import NotConvergedError
from gitops.fork.adopt import Places, adopt_fork
from gitops.git.repository import Repository
from gitops.platform.model import Environment, Platform, Registry, Service
from gitops.rendering.manifests import Manifest
from gitops.terminal import Terminal
from services.gitops.tests.conftest import commit_all
from services.gitops.tests.memory_cluster import MemoryCluster

PLATFORM = Platform(
    repository="https://git.example.com/flora/petals.git",
    registry=Registry(prefix="registry.example.com/flora/petals"),
    environments=[Environment(name="staging"), Environment(name="production", source="staging")],
    services=[
        Service(name="iris", model="iris-classifier", legacy_name="serving"),
        Service(name="wine", model="wine-classifier"),
    ],
)
ROOT: Manifest = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "root", "namespace": "argocd"},
    "spec": {"source": {"path": "apps", "helm": {"valuesObject": {"without": ["training", "extra"]}}}},
}
CONTROLLERS = (("statefulsets", "argocd-application-controller"), ("deployments", "argocd-applicationset-controller"))
# Objects of the platform in the new layout: a database whose policy changes, and a store whose policy does not.
WANTED: list[Manifest] = [
    {"kind": "StatefulSet", "metadata": {"name": name, "namespace": "ml-pipeline"}, "spec": spec}
    for name, spec in (("postgres", {"podManagementPolicy": "Parallel"}), ("minio", {}), ("absent", {}))
]
KINDS = {"deployments": "apps/Deployment", "services": "/Service", "configmaps": "/ConfigMap"}


@pytest.fixture(autouse=True)
def _in_the_fork(fork: Path) -> None:
    """The cluster in memory reads the applications of a root from the current folder."""


def tracked(cluster: MemoryCluster, kind: str, namespace: str, name: str, application: str) -> None:
    tracking = f"{application}:{KINDS.get(kind, kind)}:{namespace}/{name}"
    cluster.put(kind, {"metadata": {"name": name, "namespace": namespace, "annotations": {TRACKING: tracking}}})


def owner(cluster: MemoryCluster, kind: str, namespace: str, name: str) -> str:
    found = cluster.find(kind, name, namespace)
    assert found
    return str(found["metadata"]["annotations"][TRACKING])


def old_layout() -> MemoryCluster:
    """The old layout: one ApplicationSet, its Applications, their objects, and projects that `argocd` owns."""
    cluster = MemoryCluster()
    cluster.put(
        "applications", {"metadata": {"name": "root", "namespace": "argocd"}, "spec": {"source": {"path": "apps"}}}
    )
    cluster.put("applicationsets", {"metadata": {"name": "serving", "namespace": "argocd"}})
    cluster.put("applicationsets", {"metadata": {"name": "theirs", "namespace": "argocd"}})
    for environment in ("staging", "production"):
        name, namespace = f"serving-{environment}", f"ml-pipeline-{environment}"
        owners = [{"kind": "ApplicationSet", "name": "serving"}]
        finalizers = ["resources-finalizer.argocd.argoproj.io"]
        metadata = {"name": name, "namespace": "argocd", "ownerReferences": owners, "finalizers": finalizers}
        cluster.put("applications", {"metadata": metadata})
        for kind in KINDS:
            tracked(cluster, kind, namespace, name, name)
        tracked(cluster, "configmaps", namespace, "of-others", "theirs")
        cluster.put("configmaps", {"metadata": {"name": "kube-root-ca.crt", "namespace": namespace}})
    for project in ("serving", "platform"):
        tracked(cluster, "appprojects", "argocd", project, "argocd")
    for name, spec in (("postgres", {}), ("minio", {"podManagementPolicy": "OrderedReady"})):
        cluster.put("statefulsets", {"metadata": {"name": name, "namespace": "ml-pipeline"}, "spec": spec})
        owners = [{"kind": "StatefulSet", "name": name}]
        cluster.put("pods", {"metadata": {"name": f"{name}-0", "namespace": "ml-pipeline", "ownerReferences": owners}})
    for kind, name in CONTROLLERS:
        cluster.put(kind, {"metadata": {"name": name, "namespace": "argocd"}, "spec": {"replicas": 1}})
        labels = {"app.kubernetes.io/name": name}
        cluster.put("pods", {"metadata": {"name": f"{name}-0", "namespace": "argocd", "labels": labels}})
    return cluster


def replicas(cluster: MemoryCluster) -> list[int]:
    found = [cluster.find(kind, name, "argocd") for kind, name in CONTROLLERS]
    return [entry["spec"]["replicas"] for entry in found if entry]


def assert_handed_over(cluster: MemoryCluster) -> None:
    for environment in ("staging", "production"):
        name, namespace = f"serving-{environment}", f"ml-pipeline-{environment}"
        for kind, group in KINDS.items():
            assert owner(cluster, kind, namespace, name) == f"iris-{environment}:{group}:{namespace}/{name}"
        assert owner(cluster, "configmaps", namespace, "of-others").startswith("theirs:")
        assert not cluster.find("applications", name, "argocd")
    assert owner(cluster, "appprojects", "argocd", "serving").startswith("root:")
    assert not cluster.find("applicationsets", "serving", "argocd")
    assert cluster.find("applicationsets", "theirs", "argocd")
    assert not cluster.find("statefulsets", "postgres", "ml-pipeline")
    assert cluster.find("statefulsets", "minio", "ml-pipeline")
    assert all(cluster.find("pods", f"{name}-0", "ml-pipeline") for name in ("postgres", "minio"))
    assert replicas(cluster) == [1, 1]
    assert not handover.needed(cluster)


def test_all_objects_are_transferred_and_none_is_deleted() -> None:
    cluster = old_layout()
    assert handover.needed(cluster)
    moved = handover.hand_over(cluster, PLATFORM, [ROOT], WANTED)
    assert [str(entry) for entry in moved] == [
        "3 objects in ml-pipeline-staging: serving-staging -> iris-staging",
        "3 objects in ml-pipeline-production: serving-production -> iris-production",
        "2 objects in argocd: argocd -> root",
        (
            "StatefulSet ml-pipeline/postgres: deleted without its pods and data, since podManagementPolicy "
            "OrderedReady cannot be changed to Parallel; Argo CD creates it again"
        ),
    ]
    assert_handed_over(cluster)
    deleted = {step for step in cluster.order if step.startswith("delete")}
    pods = {f"delete pods/{name}-0" for _, name in CONTROLLERS}
    applications = {f"delete applications/serving-{name}" for name in ("staging", "production")}
    assert deleted == {"delete applicationsets/serving", *applications, *pods}


def test_argo_cd_is_stopped_from_the_first_change_to_the_last() -> None:
    cluster = old_layout()
    handover.hand_over(cluster, PLATFORM, [ROOT], WANTED)
    stops = [cluster.order.index(f"delete pods/{name}-0") for _, name in CONTROLLERS]
    starts = [len(cluster.order) - 1 - cluster.order[::-1].index(f"merge {kind}/{name}") for kind, name in CONTROLLERS]
    changes = [
        index
        for index, step in enumerate(cluster.order)
        if not any(step.endswith((f"{kind}/{name}", f"pods/{name}-0")) for kind, name in CONTROLLERS)
    ]
    assert max(stops) < min(changes)
    assert max(changes) < min(starts)


class _KilledError(Exception):
    pass


class Mortal(MemoryCluster):
    """Fails at its n-th change."""

    left = 0

    def spend(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise _KilledError

    def merge(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        self.spend()
        super().merge(kind, name, namespace, patch)

    def apply(self, objects: Any) -> None:
        self.spend()
        super().apply(objects)

    def delete(self, *arguments: Any, **options: Any) -> None:
        self.spend()
        super().delete(*arguments, **options)


def test_a_second_run_completes_one_that_was_killed_at_any_step() -> None:
    for step in range(1, 40):
        cluster = Mortal()
        cluster.objects = old_layout().objects
        cluster.left = step
        try:
            handover.hand_over(cluster, PLATFORM, [ROOT], WANTED)
        except _KilledError:
            cluster.left = 0
            assert handover.needed(cluster), step
            handover.hand_over(cluster, PLATFORM, [ROOT], WANTED)
            assert_handed_over(cluster)
        else:
            assert step > 20
            return
    pytest.fail("it never came to its end")


def test_a_service_with_a_legacy_name_keeps_its_new_application() -> None:
    same = Service(name="serving", model="iris-classifier", legacy_name="serving")
    platform = Platform(
        repository=PLATFORM.repository, registry=PLATFORM.registry, environments=PLATFORM.environments, services=[same]
    )
    cluster = old_layout()
    handover.hand_over(cluster, platform, [ROOT])
    assert owner(cluster, "deployments", "ml-pipeline-staging", "serving-staging").startswith("serving-staging:")
    owners = [{"kind": "ApplicationSet", "name": "serving-staging"}]
    cluster.put(
        "applications", {"metadata": {"name": "serving-staging", "namespace": "argocd", "ownerReferences": owners}}
    )
    handover.hand_over(cluster, platform, [ROOT])
    assert cluster.find("applications", "serving-staging", "argocd")


def test_nothing_changes_if_a_controller_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitops.cluster.handover._STOP_SECONDS", 0.0)
    cluster = old_layout()
    labels = {"app.kubernetes.io/name": CONTROLLERS[0][1]}
    stuck = {"metadata": {"name": "stuck", "namespace": "argocd", "labels": labels}}
    original = cluster.merge

    def merge(kind: str, name: str, namespace: str, patch: Manifest) -> None:
        original(kind, name, namespace, patch)
        cluster.put("pods", stuck)

    monkeypatch.setattr(cluster, "merge", merge)
    with pytest.raises(NotConvergedError, match="argocd/stuck does not stop"):
        handover.hand_over(cluster, PLATFORM, [ROOT])
    assert owner(cluster, "services", "ml-pipeline-staging", "serving-staging").startswith("serving-staging:")


def test_a_new_cluster_and_the_new_layout_need_no_migration() -> None:
    assert not handover.needed(MemoryCluster())
    cluster = MemoryCluster()
    cluster.put("applications", ROOT)
    assert not handover.needed(cluster)


def test_bootstrap_migrates_before_argo_cd_sees_the_new_layout(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopt_fork(Repository(fork), Places(repository=PLATFORM.repository, registry=PLATFORM.registry.prefix))
    text = (fork / "platform.yaml").read_text()
    (fork / "platform.yaml").write_text(
        text.replace("model: iris-classifier", "model: iris-classifier, legacyName: serving")
    )
    commit_all(fork, "the new layout")
    cluster = old_layout()
    Bootstrap(Repository(fork), cluster, Terminal(), Options(minutes=1)).run()
    # The charts of both the store and the database have another policy than what runs.
    assert "orphan statefulsets/minio" in cluster.order
    assert cluster.find("pods", "minio-0", "ml-pipeline")
    cluster.put("statefulsets", {"metadata": {"name": "minio", "namespace": "ml-pipeline"}})
    assert_handed_over(cluster)
    said = capsys.readouterr().err
    assert "3 objects in ml-pipeline-staging: serving-staging -> iris-staging" in said
    assert "StatefulSet ml-pipeline/postgres: deleted without its pods and data" in " ".join(said.split())
    assert cluster.order.index("delete applicationsets/serving") < cluster.order.index("Deployment/argocd-server")
