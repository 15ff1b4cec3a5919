"""Moves all buckets from a real MinIO to a real SeaweedFS and back, while a serving process gets requests."""

import contextlib
import hashlib
import io
import itertools
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from embedded.processes import NOBODY
from gitops.errors import OutageError
from gitops.platform.model import Environment, Platform, Registry
from gitops.stores.copying import client
from gitops.stores.moving import Route, copy_all, refuse_unlike, route
from services.serving.tests.bundles import write_bundle
from tests.integration.serving_fixtures import predict, served
from tests.support import minio, seaweedfs
from tests.support.s3 import USERS, Target

pytestmark = pytest.mark.skipif(not minio.NEEDED, reason="minio and mc are not on PATH: tools/install minio mc")
THERE = Route(source="minio", target="seaweedfs", late=False)
BACK = Route(source="seaweedfs", target="minio", late=False)
LATE = Route(source="minio", target="seaweedfs", late=True)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Target]]:
    """Both stores, with the same users."""
    with minio.running(tmp_path_factory.mktemp("minio")) as server:
        server.provision()
        keys = {user: server.keys(user) for user in USERS}
        with seaweedfs.running(tmp_path_factory.mktemp("seaweedfs"), keys) as other:
            yield server.target(), other


def root(target: Target) -> Any:
    keys = target.users["root"]
    return client(target.url, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])


def digests(target: Target) -> dict[str, str]:
    store = target.client("root")
    return {
        f"{bucket}/{item['Key']}": hashlib.sha256(
            store.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        ).hexdigest()
        for bucket in (target.models, target.backups)
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page.get("Contents", [])
    }


@contextlib.contextmanager
def asked(http: Any) -> Iterator[list[int]]:
    """Request predictions all the time, and yield a list that fills with the statuses of the answers."""
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.02):
            statuses.append(predict(http).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        done.set()
        thread.join()


def settings(target: Target, digest: str) -> dict[str, str]:
    keys = target.users["serving"]
    return {
        "MLFLOW_TRACKING_URI": NOBODY, "MODEL_VERSION": "3", "MODEL_DIGEST": digest, "MODEL_URI": "s3://mlflow/pinned/model",
        "S3_ENDPOINT_URL": target.url, **keys,
    }  # fmt: skip


def test_everything_moves_and_comes_back_without_a_failed_prediction(
    stores: tuple[Target, Target], tmp_path: Path
) -> None:
    old, new = stores
    writer = old.client("mlflow")
    digest = write_bundle(tmp_path / "bundle")
    for path in (tmp_path / "bundle").iterdir():
        writer.upload_file(str(path), old.models, f"pinned/model/{path.name}")
    for number in range(8):
        writer.put_object(
            Bucket=old.models, Key=f"1/models/m-{number}/a b+\u00e9.bin", Body=secrets.token_bytes(number * 997)
        )
    # A file of more than 8 MiB is uploaded in parts, so its ETag is not a digest.
    large = io.BytesIO(secrets.token_bytes(9 << 20))
    writer.upload_fileobj(large, old.models, "1/models/large", ExtraArgs={"Metadata": {"kind": "large"}})
    writer.put_object(Bucket=old.models, Key="empty", Body=b"")
    old.client("backup").put_object(Bucket=old.backups, Key="postgres/x.dump", Body=b"dump")
    said: list[str] = []

    with served(tmp_path / "old", settings(old, digest)) as (_, http), asked(http) as statuses:
        looked = copy_all(root(old), root(new), THERE, dry_run=True, tell=said.append)
        assert sum(done.missing for done in looked) == len(digests(old))
        assert digests(new) == {}

        # A file that is written during the first pass is copied by a later one.
        lines = itertools.count()

        def tell(line: str) -> None:
            said.append(line)
            if next(lines) == 5:
                writer.put_object(Bucket=old.models, Key="1/late", Body=b"written during the copy")
                writer.put_object(Bucket=old.models, Key="1/models/m-1/a b+\u00e9.bin", Body=b"changed")

        passes = copy_all(root(old), root(new), THERE, dry_run=False, tell=tell)
        refuse_unlike(passes)
        assert digests(new) == digests(old)
        assert new.client("serving").head_object(Bucket=new.models, Key="1/models/large")["Metadata"]["kind"] == "large"

        # The switch: a new process starts with the same pins from the other store, while the old one still answers.
        with served(tmp_path / "new", settings(new, digest)) as (_, other), asked(other) as answers:
            writer.put_object(Bucket=old.models, Key="1/straggler", Body=b"written to the former store")
            new.client("mlflow").put_object(Bucket=new.models, Key="1/late", Body=b"newer in the store in use")
            late = copy_all(root(old), root(new), LATE, dry_run=False, tell=said.append)
            assert sum(done.newer for done in late) == 1
            reader = new.client("serving")
            assert reader.get_object(Bucket=new.models, Key="1/late")["Body"].read() == b"newer in the store in use"
            assert "mlflow/1/straggler" in digests(new)

            refuse_unlike(copy_all(root(new), root(old), BACK, dry_run=False, tell=said.append))
            assert digests(old) == digests(new)
        assert answers
        assert set(answers) == {200}
    assert len(statuses) > 10
    assert set(statuses) == {200}


def test_an_interrupted_copy_continues_without_writing_twice(stores: tuple[Target, Target]) -> None:
    old, new = stores
    for number in range(6):
        old.client("mlflow").put_object(Bucket=old.models, Key=f"again/{number}", Body=secrets.token_bytes(99))
    said: list[str] = []

    def stop(line: str) -> None:
        if "again/3" in line:
            raise OutageError(line)
        said.append(line)

    with pytest.raises(OutageError):
        copy_all(root(old), root(new), THERE, dry_run=False, tell=stop)
    copy_all(root(old), root(new), THERE, dry_run=False, tell=said.append)
    assert sorted(line.split("again/")[1][0] for line in said if "copied: s3://mlflow/again/" in line) == list("01245")
    versions = root(new).list_object_versions(Bucket=new.models, Prefix="again/")["Versions"]
    assert len(versions) == 6
    assert digests(new).items() >= digests(old).items()


def test_platform_yaml_names_both_stores() -> None:
    platform = Platform(
        repository="https://git.example.com/a/b.git",
        registry=Registry(prefix="registry.example.com/a/b"),
        environments=[Environment(name="staging")],
        next_store="seaweedfs",
    )
    moved = msgspec.structs.replace(platform, store="seaweedfs", next_store="minio")
    assert (route(platform, "seaweedfs", late=False), route(moved, "seaweedfs", late=True)) == (THERE, LATE)
    assert (route(moved, "seaweedfs", late=False), route(moved, "minio", late=False)) == (None, BACK)
