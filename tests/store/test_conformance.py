"""The S3 functions that the pipeline needs: versions, conditional writes, multipart uploads, lists, denied rights."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from serving.errors import StoreUnavailableError
from serving.log.store import LogStore
from tests.support.s3 import Target, random_keys

PART = 5 << 20


def refused(call: Callable[[], Any], *codes: str) -> None:
    """Check that the store refuses a call, with one of the codes."""
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] in (codes or ("AccessDenied",))


def test_overwritten_and_deleted_objects_are_kept(store: Target, key: str) -> None:
    writer, reader, root = store.client("mlflow"), store.client("serving"), store.client("root")
    for body in (b"pinned", b"forged"):
        writer.put_object(Bucket=store.models, Key=key, Body=body)
    assert reader.get_object(Bucket=store.models, Key=key)["Body"].read() == b"forged"
    writer.delete_object(Bucket=store.models, Key=key)
    refused(lambda: reader.get_object(Bucket=store.models, Key=key), "NoSuchKey")

    versions = root.list_object_versions(Bucket=store.models, Prefix=key)["Versions"]
    bodies = {
        root.get_object(Bucket=store.models, Key=key, VersionId=entry["VersionId"])["Body"].read(): entry["VersionId"]
        for entry in versions
    }
    assert set(bodies) == {b"pinned", b"forged"}
    refused(lambda: writer.delete_object(Bucket=store.models, Key=key, VersionId=bodies[b"pinned"]))
    source = {"Bucket": store.models, "Key": key, "VersionId": bodies[b"pinned"]}
    root.copy_object(Bucket=store.models, Key=key, CopySource=source)
    assert reader.get_object(Bucket=store.models, Key=key)["Body"].read() == b"pinned"


def test_a_writer_cannot_turn_versions_off(store: Target) -> None:
    writer, root = store.client("mlflow"), store.client("root")
    off = {"Status": "Suspended"}
    refused(lambda: writer.put_bucket_versioning(Bucket=store.models, VersioningConfiguration=off))
    rule = {
        "ID": "x",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    lifecycle = {"Rules": [rule]}
    refused(lambda: writer.put_bucket_lifecycle_configuration(Bucket=store.models, LifecycleConfiguration=lifecycle))
    assert root.get_bucket_versioning(Bucket=store.models)["Status"] == "Enabled"


def test_a_conditional_write_succeeds_once(store: Target, key: str) -> None:
    writer = store.client("mlflow")
    writer.put_object(Bucket=store.models, Key=key, Body=b"first", IfNoneMatch="*")
    again = {"Bucket": store.models, "Key": key, "Body": b"second", "IfNoneMatch": "*"}
    refused(lambda: writer.put_object(**again), "PreconditionFailed")
    assert writer.get_object(Bucket=store.models, Key=key)["Body"].read() == b"first"


def test_a_multipart_upload_can_be_read_whole_and_in_ranges(store: Target, key: str) -> None:
    writer, reader = store.client("mlflow"), store.client("serving")
    where = {"Bucket": store.models, "Key": key}
    upload = writer.create_multipart_upload(**where)["UploadId"]
    bodies = [b"a" * PART, b"b" * 7]
    parts = [
        {"PartNumber": n, "ETag": writer.upload_part(**where, UploadId=upload, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(bodies, start=1)
    ]
    refused(lambda: reader.get_object(**where), "NoSuchKey")
    writer.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    assert reader.get_object(**where)["Body"].read() == b"".join(bodies)
    assert reader.get_object(**where, Range=f"bytes={PART - 1}-{PART}")["Body"].read() == b"ab"
    assert reader.head_object(**where)["ContentLength"] == PART + 7


def test_an_aborted_upload_leaves_nothing(store: Target, key: str) -> None:
    writer = store.client("mlflow")
    where = {"Bucket": store.models, "Key": key}
    upload = writer.create_multipart_upload(**where)["UploadId"]
    writer.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"a")
    writer.abort_multipart_upload(**where, UploadId=upload)
    refused(lambda: writer.get_object(**where), "NoSuchKey")


def test_lists_come_in_pages_and_folders(store: Target, key: str) -> None:
    writer, reader = store.client("mlflow"), store.client("serving")
    folder = key.rpartition("/")[0]
    names = [f"{folder}/{name}" for name in ("a/1", "a/2", "b", "c d+\u00e9", "z")]
    for name in names:
        writer.put_object(Bucket=store.models, Key=name, Body=name.encode())
    pages = reader.get_paginator("list_objects_v2")
    listed = pages.paginate(Bucket=store.models, Prefix=f"{folder}/", PaginationConfig={"PageSize": 2})
    assert [item["Key"] for page in listed for item in page["Contents"]] == sorted(names)
    top = reader.list_objects_v2(Bucket=store.models, Prefix=f"{folder}/", Delimiter="/")
    assert [entry["Prefix"] for entry in top["CommonPrefixes"]] == [f"{folder}/a/"]
    assert len(top["Contents"]) == 3


def test_a_reader_only_reads(store: Target, key: str) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"model")
    reader = store.client("serving")
    where = {"Bucket": store.models, "Key": key}
    assert reader.get_object(**where)["Body"].read() == b"model"
    refused(lambda: reader.put_object(**where, Body=b"forged"))
    refused(lambda: reader.delete_object(**where))
    refused(lambda: reader.create_multipart_upload(**where))
    refused(lambda: reader.copy_object(**where, CopySource=where))


def test_no_user_works_in_the_bucket_of_another(store: Target, key: str) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"model")
    for user, bucket in (("mlflow", store.backups), ("serving", store.backups), ("backup", store.models)):
        stranger = store.client(user)
        refused(partial(stranger.list_objects_v2, Bucket=bucket))
        refused(partial(stranger.put_object, Bucket=bucket, Key=key, Body=b"x"))
        refused(partial(stranger.get_object, Bucket=bucket, Key=key))
    backup = store.client("backup")
    source = {"Bucket": store.models, "Key": key}
    refused(lambda: backup.copy_object(Bucket=store.backups, Key=key, CopySource=source))


def test_the_backups_user_writes_lists_and_removes(store: Target, key: str) -> None:
    backup = store.client("backup")
    backup.put_object(Bucket=store.backups, Key=key, Body=b"dump")
    assert key in [item["Key"] for item in backup.list_objects_v2(Bucket=store.backups, Prefix=key)["Contents"]]
    backup.delete_object(Bucket=store.backups, Key=key)
    assert "Contents" not in backup.list_objects_v2(Bucket=store.backups, Prefix=key)


@pytest.mark.parametrize("user", ["mlflow", "serving", "backup"])
def test_no_user_makes_or_opens_buckets(store: Target, user: str) -> None:
    client = store.client(user)
    bucket = store.backups if user == "backup" else store.models
    refused(lambda: client.create_bucket(Bucket="conformance-intruder"))
    everybody = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", '
        f'"Resource": "arn:aws:s3:::{bucket}/*"}}]}}'
    )
    refused(lambda: client.put_bucket_policy(Bucket=bucket, Policy=everybody))


def test_a_wrong_secret_and_an_unknown_id_give_no_access(store: Target) -> None:
    known = store.users["mlflow"] | {"AWS_SECRET_ACCESS_KEY": "wrong-wrong-wrong"}
    for values, code in ((known, "SignatureDoesNotMatch"), (random_keys(), "InvalidAccessKeyId")):
        stranger = Target(store.name, store.url, {"stranger": values}).client("stranger")
        refused(partial(stranger.list_objects_v2, Bucket=store.models), code)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_requests_without_a_signature_are_refused(store: Target, key: str, method: str) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"model")
    body = b"forged" if method == "PUT" else None
    assert httpx.request(method, f"{store.url}/{store.models}/{key}", content=body, timeout=10).status_code == 403
    assert store.client("serving").get_object(Bucket=store.models, Key=key)["Body"].read() == b"model"


def test_the_user_of_the_prediction_log_only_writes(store: Target, key: str) -> None:
    writer, root = store.client("predictions"), store.client("root")
    where = {"Bucket": store.predictions, "Key": key}
    try:
        writer.put_object(**where, Body=b"rows")
        assert root.get_object(**where)["Body"].read() == b"rows"
        refused(lambda: writer.get_object(**where))
        refused(lambda: writer.head_object(**where), "AccessDenied", "403")
        refused(lambda: writer.delete_object(**where))
        refused(lambda: writer.list_objects_v2(Bucket=store.predictions))
        refused(lambda: writer.list_multipart_uploads(Bucket=store.predictions))
        refused(lambda: writer.copy_object(**{**where, "Key": f"{key}-2"}, CopySource=where))
        refused(lambda: writer.put_object(Bucket=store.models, Key=key, Body=b"forged"))
        refused(lambda: writer.get_object(Bucket=store.models, Key=key), "AccessDenied", "403")
        for stranger in ("mlflow", "serving", "backup"):
            refused(partial(store.client(stranger).get_object, **where))
            refused(partial(store.client(stranger).put_object, **where, Body=b"forged"))
        assert root.get_object(**where)["Body"].read() == b"rows"
    finally:
        root.delete_object(**where)


def test_objects_of_the_prediction_log_expire_permanently(store: Target) -> None:
    root = store.client("root")
    rules = root.get_bucket_lifecycle_configuration(Bucket=store.predictions)["Rules"]
    assert [rule["Expiration"]["Days"] for rule in rules if rule["Status"] == "Enabled"] == [30]
    assert root.get_bucket_versioning(Bucket=store.predictions).get("Status") != "Enabled"
    rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3650}}
    for user in ("predictions", "serving"):
        kept = partial(
            store.client(user).put_bucket_lifecycle_configuration,
            Bucket=store.predictions, LifecycleConfiguration={"Rules": [rule]},
        )  # fmt: skip
        refused(kept)


def test_serving_writes_its_log_as_that_user(store: Target, key: str) -> None:
    keys = tuple(store.users["predictions"][name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    folder = key.rpartition("/")[0]
    path = "date=2026-11-29/hour=12/20261129T121500Z-a-1.jsonl.gz"

    async def write(secret: str) -> None:
        log = LogStore(f"s3://{store.predictions}/{folder}", store.url, "us-east-1", (keys[0], secret))
        try:
            await log.put(path, b"rows")
        finally:
            await log.aclose()

    root, where = store.client("root"), {"Bucket": store.predictions, "Key": f"{folder}/{path}"}
    asyncio.run(write(keys[1]))
    try:
        assert root.get_object(**where)["Body"].read() == b"rows"
        with pytest.raises(StoreUnavailableError, match="S3 refuses to write into bucket"):
            asyncio.run(write("not-the-secret"))
    finally:
        root.delete_object(**where)
