"""Copy the objects of a bucket from one S3 store to another, and compare the digest of each.

Every pass reads all objects on both sides, because the ETag of a multipart upload is not a digest. Objects with the
same digest are not written, so an interrupted pass can be repeated. Only the newest versions are copied; older ones
stay in the old store. Nothing is deleted.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from gitops.errors import OutageError

COPIED_FROM = "copied-from-etag"
_BLOCK = 1 << 20
_IN_MEMORY = 32 << 20
_GONE = {"NoSuchKey", "404", "NotFound"}
What = Literal["same", "copied", "missing", "differs", "newer", "gone"]


class Pass(Struct, frozen=True, kw_only=True):
    """The result of a pass over a bucket, in objects.

    `copied` were written and read back. `missing` and `differing` would be copied; they occur only in a dry run.
    `newer` differ because others wrote them in the store in use, so they are left alone.
    """

    objects: int = 0
    size: int = 0
    same: int = 0
    copied: int = 0
    missing: int = 0
    differing: int = 0
    newer: int = 0


def client(url: str, key_id: str, secret: str) -> Any:
    """Return a client of the store at an address."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 5}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", config=config,
        aws_access_key_id=key_id, aws_secret_access_key=secret,
    )  # fmt: skip


def copy_bucket(
    source: Any, target: Any, bucket: str, *, late: bool, dry_run: bool, tell: Callable[[str], None]
) -> Pass:
    """Copy all objects of a bucket from `source` to `target`.

    Args:
        source: The client of the store to copy from.
        target: The client of the other store, which has the bucket.
        bucket: The name of the bucket in both.
        late: Whether `target` is the store in use: then objects that others wrote there stay.
        dry_run: Compare, and write nothing.
        tell: Receives a line for each object that is not the same.

    Raises:
        OutageError: A store does not answer or refuses, or does not return what was written.
    """
    counted = dict.fromkeys(("objects", "size", "same", "copied", "missing", "differs", "newer", "gone"), 0)
    try:
        for key in _keys(source, bucket):
            what, size = _brought(source, target, bucket, key, late=late, dry_run=dry_run)
            counted[what] += 1
            counted["objects"] += what != "gone"
            counted["size"] += size
            if what not in {"same", "gone"}:
                tell(f"{what}: s3://{bucket}/{key} ({size} bytes)")
    except (ClientError, BotoCoreError) as error:
        raise OutageError(f"The copy of bucket {bucket} stopped: {error} Run it again: it continues here.") from None
    return Pass(
        objects=counted["objects"], size=counted["size"], same=counted["same"], copied=counted["copied"],
        missing=counted["missing"], differing=counted["differs"], newer=counted["newer"],
    )  # fmt: skip


def _keys(source: Any, bucket: str) -> Iterator[str]:
    for page in source.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from (item["Key"] for item in page.get("Contents", []))


def _brought(source: Any, target: Any, bucket: str, key: str, *, late: bool, dry_run: bool) -> tuple[What, int]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        found = _read(source, bucket, key, file)
        if found is None:
            return "gone", 0
        size, etag = file.tell(), found["ETag"]
        there = _read(target, bucket, key)
        if there is not None and there["digest"] == found["digest"]:
            return "same", size
        if there is not None and late and not _stale_copy(there, etag):
            return "newer", size
        if dry_run:
            return ("missing" if there is None else "differs"), size
        file.seek(0)
        more = {"Metadata": {**found["Metadata"], COPIED_FROM: etag}, "ContentType": found["ContentType"]}
        target.upload_fileobj(file, bucket, key, ExtraArgs=more)
    written = _read(target, bucket, key)
    if written is None or written["digest"] != found["digest"]:
        raise OutageError(f"s3://{bucket}/{key} does not hold the content that was written. Run this again.")
    return "copied", size


def _stale_copy(there: dict[str, Any], etag: str) -> bool:
    """Whether an object is a copy, and its original has changed since."""
    return bool(there["Metadata"].get(COPIED_FROM, etag) != etag)


def _read(store: Any, bucket: str, key: str, into: IO[bytes] | None = None) -> dict[str, Any] | None:
    """Return digest and metadata of an object, or None if it does not exist; optionally write its content to a file."""
    try:
        answer = store.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            return None
        raise
    digest = hashlib.sha256()
    for block in answer["Body"].iter_chunks(_BLOCK):
        digest.update(block)
        if into:
            into.write(block)
    return {
        "digest": digest.hexdigest(), "ETag": answer["ETag"], "Metadata": answer.get("Metadata", {}),
        "ContentType": answer.get("ContentType", "binary/octet-stream"),
    }  # fmt: skip
