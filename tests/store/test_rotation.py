"""`gitops rotate-keys` replaces every user's keys of a real SeaweedFS, while clients use the keys of their pods."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from gitops.cluster import rotation
from gitops.cluster.rotation import MARKER, Rotation
from gitops.cluster.secrets import decoded, random_id, random_secret, secret_manifest
from gitops.platform.model import Environment, Platform, Registry
from gitops.rendering.manifests import Manifest
from gitops.terminal import Terminal
from services.gitops.tests.memory_cluster import MemoryCluster
from tests.support import minio, seaweedfs
from tests.support.s3 import USERS, client
from tests.support.seaweedfs import Mounts, Rendering

pytestmark = pytest.mark.skipif(not minio.NEEDED, reason="minio and mc are not on PATH: tools/install minio mc")
PLATFORM = Platform(
    repository="https://git.example.com/flora/petals.git",
    registry=Registry(prefix="registry.example.com/flora/petals"),
    environments=[Environment(name="staging")],
    store="seaweedfs",
)
PIPELINE, STAGING = "ml-pipeline", "ml-pipeline-staging"
HOLDERS = {(PIPELINE, "mlflow"): "mlflow", (STAGING, "iris"): "serving"}
WORK: dict[str, Callable[[Any], Any]] = {
    "mlflow": lambda s3: s3.put_object(Bucket="mlflow", Key="model", Body=b"model"),
    "serving": lambda s3: s3.get_object(Bucket="mlflow", Key="model")["Body"].read(),
}


class Running(msgspec.Struct, frozen=True):
    """A server, the files that are mounted in its pod, and the rendered chart."""

    mounts: Mounts
    rendering: Rendering
    url: str

    def known(self, values: dict[str, str]) -> bool:
        try:
            client(self.url, values).get_bucket_location(Bucket="mlflow")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            assert code in ("AccessDenied", "InvalidAccessKeyId")
            return bool(code == "AccessDenied")
        return True


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with seaweedfs.mounted(tmp_path_factory.mktemp("seaweedfs")) as (mounts, rendering, url):
        mounts.provision(rendering, url)
        yield Running(mounts, rendering, url)


class Real(MemoryCluster):
    """A cluster where the store's pod mounts the Secrets, Jobs run, and pods keep the keys that they started with."""

    def __init__(self, store: Running) -> None:
        super().__init__()
        self.store = store
        self.jobs: list[str] = []
        self.held: dict[str, dict[str, str]] = {}
        for user, values in seaweedfs.keys(store.mounts).items():
            if user == "root":
                root = {"root-user": values["AWS_ACCESS_KEY_ID"], "root-password": values["AWS_SECRET_ACCESS_KEY"]}
                super().apply([secret_manifest(PIPELINE, "minio-root", root)])
                continue
            for namespace in (PIPELINE, STAGING) if user in ("serving", "predictions") else (PIPELINE,):
                super().apply([secret_manifest(namespace, f"s3-{user}", values)])
        labels = {"app.kubernetes.io/name": "seaweedfs"}
        job = {"metadata": {"labels": labels}, "spec": {**store.rendering.pod, "containers": [store.rendering.job]}}
        metadata = {"name": "seaweedfs-provision", "namespace": PIPELINE}
        self.put("jobs", {"metadata": metadata, "spec": {"template": job}})
        workload = {"metadata": {"name": "seaweedfs", "namespace": PIPELINE}, "spec": {"template": job}}
        self.put("statefulsets", workload)
        started = {**labels, "app.kubernetes.io/component": "server"}
        pod = {
            "name": "seaweedfs-0",
            "namespace": PIPELINE,
            "labels": started,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        self.put("pods", {"metadata": pod, "spec": store.rendering.pod, "status": {"phase": "Running"}})
        for (namespace, name), user in HOLDERS.items():
            source = {"containers": [{"name": "main", "envFrom": [{"secretRef": {"name": f"s3-{user}"}}]}]}
            self.put(
                "deployments",
                {"metadata": {"name": name, "namespace": namespace}, "spec": {"template": {"spec": source}}},
            )
            self.start(namespace, name)

    def start(self, namespace: str, name: str) -> None:
        """Start a pod, which reads what its Secret contains now."""
        user = HOLDERS[namespace, name]
        values = decoded(self.objects["secrets", namespace, f"s3-{user}"])
        self.held[user] = {key: values[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}

    def apply(self, objects: Sequence[Manifest]) -> None:
        super().apply(objects)
        for manifest in objects:
            name, namespace = manifest["metadata"]["name"], manifest["metadata"].get("namespace")
            if manifest["kind"] == "Secret" and namespace == PIPELINE:
                self._mount(name, decoded(manifest))
            if manifest["kind"] == "ConfigMap":
                self.objects["configmaps", PIPELINE, MARKER]["metadata"]["creationTimestamp"] = "2026-01-01T01:00:00Z"
            if manifest["kind"] == "Job":
                self.jobs.append(self.store.mounts.provision(self.store.rendering, self.store.url))
                self.objects["jobs", PIPELINE, name]["status"] = {"succeeded": 1}

    def merge(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        super().merge(kind, name, namespace, patch)
        self.start(namespace, name)

    def _mount(self, name: str, values: dict[str, str]) -> None:
        if name == "minio-root":
            values = {"AWS_ACCESS_KEY_ID": values["root-user"], "AWS_SECRET_ACCESS_KEY": values["root-password"]}
        self.store.mounts.write("root" if name == "minio-root" else name.removeprefix("s3-"), values)


def test_every_key_changes_and_no_request_fails(store: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_PAUSE", 0.1)
    before = seaweedfs.keys(store.mounts)
    assert all(store.known(values) for values in before.values())
    cluster = Real(store)
    WORK["mlflow"](client(store.url, cluster.held["mlflow"]))
    stop, done, failed = threading.Event(), dict.fromkeys(WORK, 0), []

    def work(user: str) -> None:
        while not stop.wait(0.05):
            values = cluster.held[user]
            try:
                WORK[user](client(store.url, values))
                done[user] += 1
            except ClientError as error:
                if values is cluster.held[user]:  # otherwise its pod has ended, and this was its last request
                    failed.append(f"{user}: {error}")

    threads = [threading.Thread(target=work, args=(user,)) for user in WORK]
    for thread in threads:
        thread.start()
    try:
        Rotation(PLATFORM, cluster, Terminal(), minutes=5).run()
        time.sleep(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert min(done.values()) > 10
    after = seaweedfs.keys(store.mounts)
    for user in USERS:
        assert not set(before[user].values()) & set(after[user].values())
        assert not store.known(before[user])
        assert store.known(after[user])
    assert {user: cluster.held[user] for user in WORK} == {user: after[user] for user in WORK}
    pair = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all({path.name for path in store.mounts.place(user).iterdir()} == pair for user in USERS)
    # One Job each after adding, after root's change, and after removing. The store itself never restarts.
    assert len(cluster.jobs) == 3
    annotations = cluster.objects["statefulsets", PIPELINE, "seaweedfs"]["spec"]["template"]["metadata"].get(
        "annotations"
    )
    assert not annotations
    said = "".join(cluster.jobs)
    assert not [
        value for keys in (before, after) for values in keys.values() for value in values.values() if value in said
    ]


def test_an_old_key_that_still_works_fails_the_job(store: Running, tmp_path: Path) -> None:
    """The Job checks what the server really does: here its files differ from the server's."""
    others = Mounts(tmp_path)
    for user, values in seaweedfs.keys(store.mounts).items():
        others.write(user, values)
    stays = seaweedfs.keys(store.mounts)["serving"]
    fresh = {"AWS_ACCESS_KEY_ID": random_id(), "AWS_SECRET_ACCESS_KEY": random_secret()}
    others.write("serving", fresh)
    with pytest.raises(AssertionError, match=r"The keys of user serving are unknown at .*, but should be known"):
        others.provision(store.rendering, store.url, seconds=1)
    others.write("serving", {**stays, "PREVIOUS_ACCESS_KEY_ID": stays["AWS_ACCESS_KEY_ID"]})
    with pytest.raises(
        AssertionError, match=r"The keys of the former user serving are mismatch at .*should be unknown"
    ):
        others.provision(store.rendering, store.url, seconds=1)


def test_invalid_keys_change_nothing(store: Running) -> None:
    good = seaweedfs.keys(store.mounts)["serving"]
    try:
        store.mounts.write("serving", {**good, "AWS_SECRET_ACCESS_KEY": 'a"b'})
        time.sleep(3 * float(seaweedfs.RELOAD_SECONDS))
        assert store.known(good)
        log = (store.mounts.folder / "s3.log").read_text()
        assert "serving/AWS_SECRET_ACCESS_KEY cannot be used" in log
        assert 'a"b' not in log
    finally:
        store.mounts.write("serving", good)
