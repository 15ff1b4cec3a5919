"""The minio chart's provisioning does what its README says, on a real MinIO.

Users have the ids in their Secrets, former users are removed, and overwritten objects are kept. HAProxy in front of
MinIO lets clients through.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from embedded.processes import NOBODYS_PORT
from tests.support import guard
from tests.support.minio import NEEDED, USERS, Store, running
from tests.support.s3 import client, random_keys

pytestmark = pytest.mark.skipif(not NEEDED, reason="minio and mc are not on PATH: tools/install minio mc")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running(tmp_path_factory.mktemp("minio")) as store:
        yield store


@pytest.fixture
def store(server: Store) -> Store:
    """Return the server with a new pair of keys in each user's Secret."""
    for user in USERS:
        server.write(user, random_keys())
    return server


def refused(store: Store, values: Mapping[str, str]) -> bool:
    try:
        store.client(values).list_objects_v2(Bucket="mlflow")
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "InvalidAccessKeyId")
    return False


def test_users_have_the_rights_of_their_purpose_under_any_id(store: Store) -> None:
    said = store.provision()
    writer, reader = (store.client(store.keys(user)) for user in ("mlflow", "serving"))
    writer.put_object(Bucket="mlflow", Key="a", Body=b"first")
    assert reader.get_object(Bucket="mlflow", Key="a")["Body"].read() == b"first"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket="mlflow", Key="a", Body=b"forged")
    with pytest.raises(ClientError, match="AccessDenied"):
        writer.list_objects_v2(Bucket="backups")
    shown = [value for user in USERS for value in store.keys(user).values()]
    assert not [value for value in shown if value in said]


def test_a_former_id_gives_no_access(store: Store) -> None:
    words = {"AWS_ACCESS_KEY_ID": "serving", "AWS_SECRET_ACCESS_KEY": "known-for-long"}
    store.write("serving", words)
    store.provision()
    assert not refused(store, words)
    store.write("serving", random_keys())
    assert "A former user of policy serving is removed." in store.provision()
    assert refused(store, words)
    assert not refused(store, store.keys("serving"))


def test_during_a_rotation_old_and_new_keys_give_access(store: Store) -> None:
    old, new = store.keys("mlflow"), random_keys()
    store.write("mlflow", old | {key.replace("AWS", "NEXT"): value for key, value in new.items()})
    store.provision()
    assert not refused(store, old)
    assert not refused(store, new)
    store.write("mlflow", new | {"PREVIOUS_ACCESS_KEY_ID": old["AWS_ACCESS_KEY_ID"]})
    store.provision()
    assert not refused(store, old)
    assert not refused(store, new)
    store.write("mlflow", new)
    store.provision()
    assert refused(store, old)
    assert not refused(store, new)


def test_overwritten_and_deleted_objects_are_kept(store: Store) -> None:
    store.provision()
    store.provision()
    writer = store.client(store.keys("mlflow"))
    root = store.client(store.keys("root"))
    writer.put_object(Bucket="mlflow", Key="model.onnx", Body=b"pinned")
    writer.put_object(Bucket="mlflow", Key="model.onnx", Body=b"forged")
    writer.delete_object(Bucket="mlflow", Key="model.onnx")
    versions = root.list_object_versions(Bucket="mlflow", Prefix="model.onnx")["Versions"]
    bodies = [
        root.get_object(Bucket="mlflow", Key="model.onnx", VersionId=v["VersionId"])["Body"].read() for v in versions
    ]
    assert sorted(bodies) == [b"forged", b"pinned"]
    with pytest.raises(ClientError, match="AccessDenied"):
        writer.delete_object(Bucket="mlflow", Key="model.onnx", VersionId=versions[0]["VersionId"])
    (rule,) = root.get_bucket_lifecycle_configuration(Bucket="mlflow")["Rules"]
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert "Status" not in root.get_bucket_versioning(Bucket="backups")
    store.provision(NONCURRENT_DAYS="0")
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        root.get_bucket_lifecycle_configuration(Bucket="mlflow")


def test_a_bucket_that_no_longer_expires_loses_its_rule(store: Store) -> None:
    root = store.client(store.keys("root"))

    def rules() -> list[str]:
        found = root.get_bucket_lifecycle_configuration(Bucket="predictions")["Rules"]
        return sorted(rule["ID"] for rule in found)

    store.provision()
    assert rules() == ["expiry"]
    own = {"ID": "ours", "Status": "Enabled", "Filter": {"Prefix": "trial/"}, "Expiration": {"Days": 1}}
    (expiry,) = root.get_bucket_lifecycle_configuration(Bucket="predictions")["Rules"]
    root.put_bucket_lifecycle_configuration(Bucket="predictions", LifecycleConfiguration={"Rules": [expiry, own]})
    assert "Objects in bucket predictions do not expire any more." in store.provision(EXPIRING="")
    assert rules() == ["ours"]
    assert "stays" not in store.provision(EXPIRING="").replace("keeps versions", "")
    store.provision()
    assert rules() == ["expiry"]
    store.provision(EXPIRING="")
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        rules()


@pytest.mark.skipif(guard.PROGRAM is None, reason=guard.WITHOUT)
def test_the_guard_passes_signed_requests_and_has_a_separate_metrics_port(store: Store) -> None:
    """Names and metadata that a proxy could rewrite, with signatures in the header and presigned."""
    store.provision()
    writer = store.client(store.keys("mlflow"))
    where = {"Bucket": "mlflow", "Key": "odd/a b+c%25/\u00e9~=&.bin"}
    writer.put_object(**where, Body=b"model", Metadata={"under_score": "1", "dash-ed": "a b"})
    assert writer.head_object(**where)["Metadata"] == {"under_score": "1", "dash-ed": "a b"}
    assert httpx.put(writer.generate_presigned_url("put_object", Params=where), content=b"new").status_code == 200
    assert writer.get_object(**where)["Body"].read() == b"new"

    metrics = "/minio/v2/metrics/cluster"
    paths = [metrics, "/guard/live", "/mlflow/odd", f"{metrics}/../../../../mlflow/odd", "/minio/health/live"]
    assert [httpx.get(f"{store.metrics_url}{path}").status_code for path in paths] == [200, 200, 404, 404, 404]
    assert httpx.put(f"{store.metrics_url}{metrics}", content=b"x").status_code == 404


@pytest.mark.skipif(guard.PROGRAM is None, reason=guard.WITHOUT)
def test_the_guard_answers_like_s3_while_the_server_is_down(tmp_path: Path) -> None:
    with guard.running(tmp_path, upstream=NOBODYS_PORT) as (url, _), pytest.raises(ClientError) as caught:
        client(url, random_keys()).list_buckets()
    assert caught.value.response["Error"]["Code"] == "ServiceUnavailable"
