"""Data from an S3 store: one object, or a folder of Parquet objects."""

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from training.addresses import CONNECT_SECONDS, MOST_BYTES, READ_SECONDS, Fetched, data_variable, save, shown, too_large
from training.errors import BadInputError, OutageError
from training.tables import PARQUET_SUFFIXES

_CHUNK = 1 << 20
_MOST_OBJECTS = 10_000
_REFUSED = frozenset({"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
# The codes for objects that do not exist.
ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "NotFound", "InvalidArgument"})


def fetch(address: str, folder: Path) -> Fetched:
    """Fetch an object, or all Parquet objects below an address that ends with `/`, into a folder.

    The keys are in the usual variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and so on), the store's address is
    `S3_ENDPOINT_URL` or MLflow's. A variable with `DATA_` before its name applies to data alone.

    Args:
        address: `s3://BUCKET/KEY`, with `?versionId=VERSION` for one version of the object.
        folder: Where to put it.

    Raises:
        BadInputError: There is no such object, the store denies access, or the object is larger than 1 GiB.
        OutageError: The store does not answer.
    """
    parts = urlsplit(address)
    bucket, key = parts.netloc, unquote(parts.path.removeprefix("/"))
    if not bucket or not key:
        raise BadInputError(f"--data: {shown(address)!r} is not of the form s3://BUCKET/KEY.")
    version = parse_qs(parts.query).get("versionId", [""])[0]
    try:
        store = client()
        if key.endswith("/"):
            return _folder(store, bucket, key, folder, shown(address))
        return _object(store, bucket, key, version, folder, shown(address))
    except (ClientError, BotoCoreError, OSError) as error:
        raise explained(error, shown(address)) from error


def client() -> Any:
    """Return a client of the store that holds data, with timeouts and at most three attempts."""
    return boto3.client(
        "s3",
        endpoint_url=data_variable("S3_ENDPOINT_URL") or os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None,
        aws_access_key_id=os.environ.get("DATA_AWS_ACCESS_KEY_ID") or None,
        aws_secret_access_key=os.environ.get("DATA_AWS_SECRET_ACCESS_KEY") or None,
        aws_session_token=os.environ.get("DATA_AWS_SESSION_TOKEN") or None,
        region_name=data_variable("AWS_REGION") or data_variable("AWS_DEFAULT_REGION"),
        config=Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"max_attempts": 3}),
    )


def _object(store: Any, bucket: str, key: str, version: str, folder: Path, address: str) -> Fetched:
    found = store.get_object(Bucket=bucket, Key=key, **({"VersionId": version} if version else {}))
    if found["ContentLength"] > MOST_BYTES:
        raise too_large(address)
    path = folder / Path(key).name
    save(found["Body"].iter_chunks(_CHUNK), path, address)
    own = found.get("VersionId")
    return Fetched(path, f"version {own}" if own and own != "null" else f"etag {found['ETag'].strip(chr(34))}")


def _folder(store: Any, bucket: str, prefix: str, folder: Path, address: str) -> Fetched:
    objects = []
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        objects += [found for found in page.get("Contents", []) if found["Key"].lower().endswith(PARQUET_SUFFIXES)]
        if len(objects) > _MOST_OBJECTS:
            raise BadInputError(f"{address}: more than {_MOST_OBJECTS} objects are below it.")
    if not objects:
        raise BadInputError(f"{address}: no Parquet object is below it.")
    if sum(found["Size"] for found in objects) > MOST_BYTES:
        raise too_large(address)
    root, digest, room = folder / Path(prefix).name, hashlib.sha256(), MOST_BYTES
    for found in sorted(objects, key=lambda one: one["Key"]):
        path = root / found["Key"].removeprefix(prefix)
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadInputError(f"{address}: the object {found['Key']!r} lies outside it by its name.")
        # Only the listed content, so that the recorded version is what was read.
        body = store.get_object(Bucket=bucket, Key=found["Key"], IfMatch=found["ETag"])["Body"]
        room -= save(body.iter_chunks(_CHUNK), path, address, room)
        digest.update(f"{found['Key']} {found['ETag']}\n".encode())
    return Fetched(root, f"{len(objects)} objects, sha256 {digest.hexdigest()}")


def explained(error: Exception, address: str) -> BadInputError | OutageError:
    """Return the meaning of an error of the store's client, in a sentence that names the address."""
    if isinstance(error, NoCredentialsError):
        return BadInputError(
            f"{address}: the keys for the store are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if not isinstance(error, ClientError):
        return OutageError(f"{address}: the store does not answer ({' '.join(str(error).split())}).")
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in ABSENT:
        return BadInputError(f"{address}: this object does not exist ({code}).")
    if code in _REFUSED:
        return BadInputError(f"{address}: these keys may not read it ({code}).")
    return OutageError(f"{address}: the store answers {code or 'with an error'}.")
