"""Rotation of the store's keys: no running pod ever has a key that the store does not know."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gitops.cluster import rotation
from gitops.cluster.rotation import MARKER, Rotation
from gitops.cluster.secrets import bootstrap_secrets, decoded, guessable, make_secrets, secret_manifest
from gitops.errors import BadInputError, NotConvergedError, OutageError
from gitops.platform.model import Cluster, Environment, Platform, Registry
from gitops.rendering.manifests import Manifest
from gitops.terminal import Terminal
from services.gitops.tests.memory_cluster import MemoryCluster

PLATFORM = Platform(
    repository="https://git.example.com/flora/petals.git",
    registry=Registry(prefix="registry.example.com/flora/petals"),
    environments=[Environment(name="staging")],
)
USERS = ("mlflow", "backup", "serving", "predictions")
READERS = {("ml-pipeline", "mlflow"): "s3-mlflow", ("ml-pipeline-staging", "iris-staging"): "s3-serving"}
NEXT = "NEXT_ACCESS_KEY_ID"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_PAUSE", 0.0)


def pod_spec(secret: str) -> Manifest:
    source = {"secretKeyRef": {"name": secret, "key": "AWS_ACCESS_KEY_ID"}}
    return {"containers": [{"name": "main", "env": [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": source}]}]}


class Running(MemoryCluster):
    """An installation with ids that are words, and a store with the users of its last Job.

    The keys that pods hold are checked after each change. After change number `ends_after`, the cluster stops
    answering.
    """

    def __init__(self) -> None:
        super().__init__()
        self.users = {*USERS}
        self.root = "root"
        self.ready = False
        self.clock = itertools.count(1)
        self.ends_after: int | None = None
        self.changes = 0
        self.held: dict[str, str] = {}
        make_secrets(self, bootstrap_secrets(PLATFORM))
        for user in USERS:
            self._make_word("ml-pipeline", user)
        for user in ("serving", "predictions"):
            self._make_word("ml-pipeline-staging", user)
        root = {"root-user": "root", "root-password": "known"}
        super().apply([secret_manifest("ml-pipeline", "minio-root", root)])
        next_keys = {"secret": {"name": "s3-mlflow", "items": [{"key": NEXT, "path": "x"}]}}
        spec = {"containers": [], "volumes": [{"name": "users", "projected": {"sources": [next_keys]}}]}
        labels = {"app.kubernetes.io/component": "provision", "job-name": "minio-provision"}
        template = {"metadata": {"labels": labels}, "spec": spec}
        self.put(
            "jobs",
            {"metadata": {"name": "minio-provision", "namespace": "ml-pipeline"}, "spec": {"template": template}},
        )
        store = {
            "metadata": {"name": "minio", "namespace": "ml-pipeline"},
            "spec": {"template": {"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "minio-root"}}]}]}}},
            "status": {"updatedReplicas": 1, "availableReplicas": 1},
        }
        self.put("statefulsets", store)
        for (namespace, name), secret in READERS.items():
            metadata = {"name": name, "namespace": namespace}
            self.put("deployments", {"metadata": metadata, "spec": {"template": {"spec": pod_spec(secret)}}})
            self.start_pod(namespace, name, secret)
        self.ready = True

    def _make_word(self, namespace: str, user: str) -> None:
        values = {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": "known-" + user}
        super().apply([secret_manifest(namespace, f"s3-{user}", values)])

    def values(self, name: str, namespace: str = "ml-pipeline") -> dict[str, str]:
        return decoded(self.objects["secrets", namespace, name])

    def now(self) -> str:
        return f"2026-01-01T00:00:{next(self.clock):02d}Z"

    def start_pod(self, namespace: str, name: str, secret: str) -> None:
        self.held[name] = self.values(secret, namespace)["AWS_ACCESS_KEY_ID"]
        metadata = {"name": name, "namespace": namespace, "creationTimestamp": self.now()}
        self.put("pods", {"metadata": metadata, "spec": pod_spec(secret), "status": {"phase": "Running"}})

    def apply(self, objects: Sequence[Manifest]) -> None:
        super().apply(objects)
        for manifest in objects:
            if manifest["kind"] == "Job":
                self._provision(manifest)
            if manifest["kind"] == "ConfigMap":
                self.objects["configmaps", "ml-pipeline", MARKER]["metadata"]["creationTimestamp"] = self.now()
        self._changed()

    def merge(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        super().merge(kind, name, namespace, patch)
        if name == "minio":
            self.root = self.values("minio-root")["root-user"]
        else:
            self.start_pod(namespace, name, READERS[namespace, name])
        self._changed()

    def _provision(self, job: Manifest) -> None:
        assert "job-name" not in job["spec"]["template"]["metadata"]["labels"]
        assert self.root == self.values("minio-root")["root-user"]
        secrets = [self.values(f"s3-{user}") for user in USERS]
        kept = ("AWS_ACCESS_KEY_ID", NEXT, "PREVIOUS_ACCESS_KEY_ID")
        self.users = {values[key] for values in secrets for key in kept if key in values}
        self.objects["jobs", "ml-pipeline", job["metadata"]["name"]]["status"] = {"succeeded": 1}

    def _changed(self) -> None:
        if not self.ready:
            return
        # A pod that starts now must be able to sign in with the keys in the Secrets.
        starting = [self.values(f"s3-{user}")["AWS_ACCESS_KEY_ID"] for user in USERS]
        assert {*self.held.values(), *starting} <= self.users
        self.changes += 1
        if self.changes == self.ends_after:
            raise OutageError("The cluster does not answer.")


def rotate(cluster: MemoryCluster, platform: Platform = PLATFORM, minutes: float = 1, **contexts: str) -> None:
    Rotation(platform, cluster, Terminal(), minutes=minutes, contexts=contexts).run()


def assert_new(cluster: Running) -> None:
    ids = {user: cluster.values(f"s3-{user}")["AWS_ACCESS_KEY_ID"] for user in USERS}
    assert cluster.users == {*ids.values()}
    assert not {*USERS, "root"} & {*ids.values(), cluster.root}
    assert cluster.held == {"mlflow": ids["mlflow"], "iris-staging": ids["serving"]}
    for name in ("s3-serving", "s3-predictions"):
        assert cluster.values(name, "ml-pipeline-staging") == cluster.values(name)
    assert all(cluster.values(f"s3-{user}").keys() == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} for user in USERS)
    assert cluster.values("minio-root").keys() == {"root-user", "root-password"}
    assert cluster.root == cluster.values("minio-root")["root-user"]
    assert cluster.find("configmaps", MARKER, "ml-pipeline") is None
    assert [key for key in cluster.objects if key[0] == "jobs"] == [("jobs", "ml-pipeline", "minio-provision")]
    assert guessable(cluster) == []


def test_every_key_changes_and_nothing_fails_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Running()
    assert len(guessable(cluster)) == 5
    before = [cluster.values(f"s3-{user}") for user in USERS]
    rotate(cluster)
    assert_new(cluster)
    after = [cluster.values(f"s3-{user}") for user in USERS]
    shown = "".join(capsys.readouterr())
    assert not [value for values in after for value in values.values() if value in shown]
    assert not {value for values in before for value in values.values()} & {
        value for values in after for value in values.values()
    }


def test_it_continues_after_an_interruption_at_any_step() -> None:
    whole = Running()
    rotate(whole)
    assert whole.changes > 10
    for change in range(1, whole.changes + 1):
        cluster = Running()
        cluster.ends_after = change
        with pytest.raises(OutageError):
            rotate(cluster)
        rotate(cluster)
        leftover = [key for key in cluster.objects if key[0] == "jobs" and key[2] != "minio-provision"]
        for key in leftover:  # A Job that was interrupted before it was deleted; Kubernetes deletes it later.
            assert cluster.objects.pop(key)["spec"]["ttlSecondsAfterFinished"]
        assert_new(cluster)


def test_a_running_training_keeps_its_key_until_it_ends() -> None:
    cluster = Running()
    cluster.start_pod("ml-pipeline", "training", "s3-mlflow")
    with pytest.raises(NotConvergedError, match=r"still hold old keys after .* ml-pipeline/training\. Run this again"):
        rotate(cluster, minutes=0.001)
    assert "mlflow" in cluster.users
    cluster.objects["pods", "ml-pipeline", "training"]["status"]["phase"] = "Succeeded"
    del cluster.held["training"]
    rotate(cluster)
    assert_new(cluster)


def test_a_service_with_canaries_is_restarted_and_its_version_stays() -> None:
    """To Argo Rollouts, another template would be another version, with the steps of a canary."""
    cluster, place = Running(), ("ml-pipeline-staging", "iris-staging")
    rollout = cluster.objects.pop(("deployments", *place))
    cluster.put("rollouts", rollout)
    rotate(cluster)
    assert_new(cluster)
    after = cluster.objects["rollouts", *place]
    assert after["spec"].pop("restartAt").startswith("2026-01-01T00:00:")
    assert after == rollout


def test_environments_in_other_clusters_get_new_keys() -> None:
    facts: dict[str, Any] = {
        "environments": [Environment(name="staging"), Environment(name="eu", source="staging", cluster="west")],
        "clusters": {"west": Cluster(server="https://10.0.0.5:6443", s3="https://s3.example.com")},
    }
    platform = Platform(repository=PLATFORM.repository, registry=PLATFORM.registry, **facts)
    cluster, there = Running(), MemoryCluster()
    make_secrets(there, bootstrap_secrets(platform, "west"), cluster)
    with pytest.raises(BadInputError, match="--context-of west=CONTEXT"):
        rotate(cluster, platform)
    assert cluster.changes == 0
    cluster.others["there"] = there
    rotate(cluster, platform, west="there")
    for name in ("s3-serving", "s3-predictions"):
        assert decoded(there.objects["secrets", "ml-pipeline-eu", name]) == cluster.values(name)


def test_an_impossible_rotation_is_refused_before_any_change() -> None:
    cluster = Running()
    job = copy.deepcopy(cluster.objects["jobs", "ml-pipeline", "minio-provision"])
    job["spec"]["template"]["spec"]["volumes"] = []
    cluster.put("jobs", job)
    with pytest.raises(BadInputError, match="made by an earlier version of the chart"):
        rotate(cluster)
    del cluster.objects["jobs", "ml-pipeline", "minio-provision"]
    with pytest.raises(BadInputError, match=r"minio-provision, which manages.*missing: sync the application minio"):
        rotate(cluster)
    assert cluster.changes == 0


def test_a_failed_job_ends_it_and_the_error_says_where_its_log_is() -> None:
    class Failing(Running):
        """A store whose Job fails."""

        def _provision(self, job: Manifest) -> None:
            failed = [{"type": "Failed", "status": "True"}]
            self.objects["jobs", "ml-pipeline", job["metadata"]["name"]]["status"] = {"conditions": failed}

    cluster = Failing()
    with pytest.raises(NotConvergedError, match=r"logs job/minio-rotate-\w+ says why"):
        rotate(cluster)


class Watching(Running):
    """A SeaweedFS, which reads the keys of its users and of root from the Secrets while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        labels = {"app.kubernetes.io/name": "seaweedfs"}
        template: Manifest = {}
        for kind, theirs, name in (
            ("jobs", "minio-provision", "seaweedfs-provision"),
            ("statefulsets", "minio", "seaweedfs"),
        ):
            manifest = self.objects.pop((kind, "ml-pipeline", theirs))
            manifest["metadata"]["name"] = name
            template = manifest["spec"]["template"]
            template.setdefault("metadata", {})["labels"] = labels
            template["spec"].setdefault("volumes", []).append({"secret": {"secretName": "s3-mlflow"}})
            self.put(kind, manifest)
        metadata = {"name": "seaweedfs-0", "namespace": "ml-pipeline", "creationTimestamp": self.now()}
        pod = {"metadata": {**metadata, "labels": labels}, "spec": template["spec"], "status": {"phase": "Running"}}
        self.put("pods", pod)

    def merge(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        assert name != "seaweedfs"
        super().merge(kind, name, namespace, patch)

    def _changed(self) -> None:
        if self.ready:
            # An id needs its secret in the same Secret.
            pairs = [
                (prefix + "ACCESS_KEY_ID", prefix + "SECRET_ACCESS_KEY") for prefix in ("AWS_", "NEXT_", "PREVIOUS_")
            ]
            secrets = [self.values(f"s3-{user}") for user in USERS]
            self.users = {values[key] for values in secrets for key, secret in pairs if secret in values}
            self.root = self.values("minio-root")["root-user"]
        super()._changed()

    def _provision(self, job: Manifest) -> None:
        self.objects["jobs", "ml-pipeline", job["metadata"]["name"]]["status"] = {"succeeded": 1}
        self.asked.append(sorted(self.values("s3-mlflow")))


def test_seaweedfs_is_not_restarted() -> None:
    """tests/store does the same with a real SeaweedFS."""
    cluster = Watching()
    rotate(cluster, msgspec.structs.replace(PLATFORM, store="seaweedfs"))
    assert [key for key in cluster.objects if key[0] == "jobs"] == [("jobs", "ml-pipeline", "seaweedfs-provision")]
    assert cluster.root == cluster.values("minio-root")["root-user"] != "root"
    assert cluster.users == {cluster.values(f"s3-{user}")["AWS_ACCESS_KEY_ID"] for user in USERS}
    pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    assert cluster.asked == [
        [*pair, NEXT, "NEXT_SECRET_ACCESS_KEY"],
        [*pair, "PREVIOUS_ACCESS_KEY_ID", "PREVIOUS_SECRET_ACCESS_KEY"],
        # With the id, the store is asked whether it has forgotten the user.
        [*pair, "PREVIOUS_ACCESS_KEY_ID"],
    ]
    assert all(sorted(cluster.values(f"s3-{user}")) == pair for user in USERS)


def test_with_seaweedfs_it_continues_after_an_interruption_at_any_step() -> None:
    platform = msgspec.structs.replace(PLATFORM, store="seaweedfs")
    whole = Watching()
    rotate(whole, platform)
    assert whole.changes > 10
    for change in range(1, whole.changes + 1):
        cluster = Watching()
        cluster.ends_after = change
        with pytest.raises(OutageError):
            rotate(cluster, platform)
        rotate(cluster, platform)
        ids = {user: cluster.values(f"s3-{user}")["AWS_ACCESS_KEY_ID"] for user in USERS}
        assert cluster.users == {*ids.values()}
        assert not {*USERS, "root"} & {*ids.values(), cluster.root}
        assert cluster.held == {"mlflow": ids["mlflow"], "iris-staging": ids["serving"]}


def test_another_store_without_a_job_is_left_alone() -> None:
    cluster = Running()
    before = copy.deepcopy(cluster.objects)
    with pytest.raises(BadInputError, match=r"seaweedfs-provision, which manages.*missing: sync.* seaweedfs"):
        rotate(cluster, msgspec.structs.replace(PLATFORM, store="seaweedfs"))
    assert cluster.objects == before
